"""The page of `hyseg train`: curves, scores and pictures of a training that runs or has run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from hyseg_cli.errors import HysegError
from hyseg_cli.messages import Messages, format_duration
from hyseg_cli.report.imagery import Layer, Palette, embed
from hyseg_cli.report.page import format_count, render
from hyseg_cli.report.provenance import Provenance, Row, Source
from hyseg_cli.workflows.outputs import write_text
from hyseg_cli.workflows.train.state import TrainingState

PAGE = "training.html"
"""Its name in the run folder."""
METRICS = "metrics.csv"
POINTS = 200
"""Of a curve at most: more of them are averaged."""
SMOOTHED = 0.05
"""Part of a curve that its trend is averaged over."""
PICTURE_WIDTH = 1000
SECONDS_BETWEEN_LOADS = 30
"""After which the page of a training that runs loads itself again."""

Points = list[tuple[float, float]]
"""Step and value, by step."""


@dataclass(frozen=True)
class Curve:
    """Values over the steps of a stage, as points of an SVG of 200 x 80."""

    name: str
    line: str
    trend: str
    """The same, smoothed; empty for a few points."""
    last: float


@dataclass(frozen=True)
class Plot:
    """Curves on common axes."""

    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place from the top and text of the marks of the values."""
    steps: tuple[tuple[float, str], ...]
    """Place from the left and text of the marks of the steps."""
    marked: float | None
    """Place from the left of the best step, if there is one."""


@dataclass(frozen=True)
class StageView:
    """What there is to see of one stage."""

    name: str
    plots: tuple[Plot, ...]
    pictures: tuple[Layer, ...]


class Page:
    """Writes the page of a training again each time it is called.

    A page that cannot be written ends no training: that is said once.

    Args:
        messages: Get the name of the page.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._is_known = False

    def __call__(self, state: TrainingState) -> None:
        try:
            write_training(state)
            text = f"{state.folder / PAGE} shows curves and pictures"
        except HysegError as error:
            text = f"the page of the training is not written: {error.message}"
        if not self._is_known:
            self._messages.note(text)
        self._is_known = True


def write_training(state: TrainingState) -> None:
    """Write the page of a training into its run folder.

    Raises:
        HysegError: If the file cannot be written.
    """
    scenes = state.scenes
    palette = Palette(scenes.legend.names, tuple(c.color for c in scenes.legend.classes))
    made = Provenance.of(state.settings, tuple(_sources(state)))
    # Sources have a table of their own.
    settings = tuple(row for row in made.settings if row[0] != "sources")
    page = render(
        "training.html.j2",
        title=state.settings.out.name,
        subtitle=_subtitle(state),
        reload=None if state.is_done else SECONDS_BETWEEN_LOADS,
        tiles=tuple(_tiles(state)),
        stages=[_stage(state.folder / name) for name in ("prior", "segmentation")],
        palette=palette,
        shares=list(zip(scenes.legend.classes, scenes.survey.shares, strict=True)),
        scores=state.scores,
        sources=[] if scenes.sources is None else scenes.sources.sources,
        provenance=replace(made, settings=settings),
    )
    write_text(state.folder / PAGE, page)


def _subtitle(state: TrainingState) -> str:
    if state.is_done:
        return f"finished; the weights are those of step {format_count(state.step)}"
    return f"{state.stage}, step {format_count(state.step)} of {format_count(state.steps)}"


def _tiles(state: TrainingState) -> Iterator[Row]:
    for name, scores in state.scores.items():
        yield f"Mean IoU ({name})", f"{scores.mean_iou:.3f}"
        yield f"Accuracy ({name})", f"{scores.overall_accuracy:.3f}"
    if state.seconds_per_step is not None:
        yield "Time for a step", f"{state.seconds_per_step:.2f} s"
    left = state.seconds_left
    if left is not None and not state.is_done:
        yield "Left of this stage", format_duration(left)
    yield "Parameters", f"{state.parameters / 1e6:.1f} M"


def _sources(state: TrainingState) -> Iterator[Source]:
    scenes = state.scenes
    yield Source("Trained on", tuple(("Scene", name) for name in scenes.training_names))
    if scenes.validation_names:
        held_out = tuple(("Scene", name) for name in scenes.validation_names)
        yield Source("Held out to validate", held_out)


# ---- curves -------------------------------------------------------------------------------------


def _stage(folder: Path) -> StageView:
    columns = read_columns(sorted(folder.rglob(METRICS)))
    scores = {name: points for name, points in columns.items() if name.startswith("miou")}
    plots = []
    if "loss" in columns:
        plots.append(draw_plot("Loss", {"loss": columns["loss"]}))
    if scores:
        watched = scores.get("miou") or next(iter(scores.values()))
        best, _ = max(watched, key=lambda point: point[1])
        titles = {"miou": "what is watched"}
        named = {
            titles.get(name, name.removeprefix("miou_")): points for name, points in scores.items()
        }
        plots.append(draw_plot("Mean IoU on what is held out", named, best=best))
    return StageView(folder.name, tuple(plots), tuple(_pictures(folder / "pictures")))


def read_columns(tables: Iterable[Path]) -> dict[str, Points]:
    """The values of each column by step, from all tables of a stage.

    A run that went on has written a table beside the first; what it computed again counts.
    """
    found: dict[str, dict[float, float]] = {}
    for table in sorted(tables, key=lambda path: path.stat().st_mtime):
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise HysegError(
                f"{table} cannot be read ({error})", hint="Check the permissions of the run folder."
            ) from error
        for row in rows:
            step = _number(row.get("step"))
            for name, text in row.items():
                value = _number(text)
                if name not in ("step", "epoch") and math.isfinite(step) and math.isfinite(value):
                    found.setdefault(name, {})[step + 1] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def draw_plot(title: str, columns: Mapping[str, Points], best: float | None = None) -> Plot:
    """Curves with axes that start at step 0 and enclose all values.

    Args:
        title: Of the plot.
        columns: Values of each curve, one at least.
        best: A step to mark.
    """
    thin = {name: thinned(points) for name, points in columns.items()}
    values = [value for points in thin.values() for _, value in points]
    last = max(points[-1][0] for points in thin.values())
    low, high = _rounded(min(values), max(values))

    def place(point: tuple[float, float]) -> str:
        share = (point[1] - low) / (high - low)
        return f"{200 * point[0] / last:.2f},{80 - 80 * share:.2f}"

    def line(points: Points) -> str:
        return " ".join(map(place, points))

    curves = tuple(
        Curve(name, line(points), line(smoothed(points)), points[-1][1])
        for name, points in thin.items()
    )
    digits = max(0, 1 - math.floor(math.log10(high - low)))
    marks = [(80 - 80 * k / 4, f"{low + (high - low) * k / 4:.{digits}f}") for k in range(5)]
    steps = [(200 * k / 4, format_count(last * k / 4)) for k in range(5)]
    return Plot(title, curves, tuple(marks), tuple(steps), best and 200 * best / last)


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Limits that enclose values and are multiples of a quarter of a round number."""
    span = max(high - low, abs(high) * 0.01, 1e-6)
    unit = 10.0 ** math.floor(math.log10(span))
    unit = next(u for u in (unit / 5, unit / 2, unit, 2 * unit, 5 * unit) if span <= 4 * u)
    first = math.floor(low / unit) * unit
    while first + 4 * unit < high:
        unit *= 2
        first = math.floor(low / unit) * unit
    return first, first + 4 * unit


def thinned(points: Points, most: int = POINTS) -> Points:
    """At most so many points, each the mean of its neighbours; the last stays last."""
    if len(points) <= most:
        return points
    parts = np.array_split(np.array(points), most)
    return [(float(part[-1, 0]), float(part[:, 1].mean())) for part in parts]


def smoothed(points: Points) -> Points:
    """The mean of the values around each point; nothing for less than 40 points."""
    if len(points) < 40:
        return []
    reach = max(1, round(len(points) * SMOOTHED))
    values = np.array([value for _, value in points])
    means = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))]
    return [(step, float(mean)) for (step, _), mean in zip(points, means, strict=True)]


# ---- pictures -----------------------------------------------------------------------------------


def _pictures(folder: Path) -> Iterator[Layer]:
    """The newest picture and the first one, which shows how far it has come."""
    found = sorted(folder.glob("step-*.png"))
    for path in dict.fromkeys((found[-1], found[0])) if found else ():
        with Image.open(path) as picture:
            size = PICTURE_WIDTH, round(PICTURE_WIDTH * picture.height / picture.width)
            small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        step = format_count(int(path.stem.removeprefix("step-")))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=85)
        alt = f"Image, label and maps of some chips after step {step}"
        yield Layer(f"After step {step}", alt, embed("jpeg", file), small.height, small.width)
