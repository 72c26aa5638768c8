"""The table of corrections of one frozen host, scene by scene, from the files of their runs.

    python paired.py runs/scores

A run, which is a line of a file, holds the confusion matrices of the host's map, of the corrected
map, and of the map that the same weights make with the prior of another scene. The scene is the
unit: seeds are averaged within it before anything is compared, and the test flips the signs of
scenes.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from hyseg_cli.learn.scores.metrics import Scores

Measured = dict[str, Any]

ROWS = {
    "labels": "the labels (oracle)",
    "rgb": "colours, 7 x 7",
    "own": "the host's own probabilities",
    "majority7": "majority filter, 7 x 7 pixels",
    "majority": "majority filter, 15 x 15 pixels",
    "majority31": "majority filter, 31 x 31 pixels",
    "learnt": "learnt from map and image",
    "shared": "the same, one gate between 0 and 1",
    "larger": "larger host: the corrector's network alone",
    "larger+broken": "larger host, also from broken labels",
    "evid": "corrector without noise",
    "evid+broken": "corrector without noise, also from broken labels",
    "mean": "corrector, noise left out",
    "flow": "corrector from map and noise",
    "flow+broken": "corrector from map and noise, also from broken labels",
    "blind+broken": "the same, image not shown",
    "partitions": "random colourings, one draw",
    "partitions8": "random colourings, eight affinities",
    "ae": "embedded label maps, one draw",
}
"""What the affinity or the correction is made of, by the name in the files."""


def points(confusion: Sequence[Sequence[int]]) -> float:
    """Mean IoU in points."""
    return 100.0 * float(Scores.of(np.array(confusion)).mean_iou)


def gain(run: Measured) -> float:
    """Points of mean IoU against the host."""
    return points(run["own"]) - points(run["host"])


def use(run: Measured) -> float:
    """Points of mean IoU against a wrong prior; NaN without a prior."""
    return points(run["own"]) - points(run["other"]) if "other" in run else math.nan


def _structure(key: str) -> Callable[[Measured], float]:
    return lambda run: run["structure"]["own"][key] - run["structure"]["host"][key]


COLUMNS: dict[str, Callable[[Measured], float]] = {
    "mIoU against host": gain,
    "prior use": use,
    "boundary F1": _structure("boundary_f1"),
    "b0 error": _structure("b0_error"),
}
SHAPES = {
    "boundary F1, 3 px": "boundary_f1",
    "1 px": "boundary_f1_1px",
    "boundary IoU, 3 px": "boundary_iou",
    "clDice of roads": "road_cl_dice",
    "b0 error": "b0_error",
    "smaller squares": "b0_error_small",
    "b1 error": "b1_error",
    "smaller squares ": "b1_error_small",
}
"""What a run measures of structure, by the head of its column."""


def by_scene(runs: Sequence[Measured], score: Callable[[Measured], float]) -> list[float]:
    """A score of each scene, the mean over its seeds, in the order of scenes."""
    return [statistics.fmean(seeds) for seeds in seeds_by_scene(runs, score)]


def seeds_by_scene(
    runs: Sequence[Measured], score: Callable[[Measured], float]
) -> list[list[float]]:
    """A score of each seed of each scene, in the order of scenes."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        found[run["scene"]].append(score(run))
    return [found[scene] for scene in sorted(found)]


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of a mean difference: the share of sign patterns with one as large.

    Exact, over all 2^n patterns; with n scenes none is below 2^(1 - n).
    """
    values = np.array(differences)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
    means = np.abs((signs * values).mean(axis=1))
    return float((means >= abs(values.mean()) - 1e-12).mean())


def interval(scenes: Sequence[Sequence[float]], *, draws: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean over scenes by a hierarchical bootstrap.

    Scenes are drawn with replacement, and of each drawn scene its seeds.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(len(scenes), size=(draws, len(scenes)))
    means = np.empty(picks.shape)
    for index, seeds in enumerate(scenes):
        drawn = rng.integers(len(seeds), size=(*picks.shape, len(seeds)))
        means = np.where(picks == index, np.array(seeds)[drawn].mean(axis=-1), means)
    low, high = np.percentile(means.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def read(folder: Path) -> dict[str, list[Measured]]:
    """The runs in a folder, by row, in the order of `ROWS`: one in a line, in any files."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for path in sorted((*folder.glob("*.json"), *folder.glob("*.jsonl"))):
        for line in path.read_text().splitlines():
            run = json.loads(line)
            found[run["row"]].append(run)
    return {row: found[row] for row in ROWS if row in found}


def table(folder: Path) -> Iterator[str]:
    """Lines of Markdown, a row for each correction, without columns that no run fills."""
    found = read(folder)
    cells = {
        row: {name: _cell(by_scene(runs, score)) for name, score in COLUMNS.items()}
        for row, runs in found.items()
    }
    names = [name for name in COLUMNS if any(cells[row][name] for row in found)]
    yield f"| correction by | scenes x seeds | {' | '.join(names)} | p |"
    yield "|---" * (len(names) + 3) + "|"
    for row, runs in found.items():
        scenes = by_scene(runs, gain)
        low, high = interval(seeds_by_scene(runs, gain))
        cells[row]["mIoU against host"] += f" ({low:+.2f} to {high:+.2f})"
        seeds = Counter(run["scene"] for run in runs).values()
        size = f"{len(scenes)} x {' to '.join(map(str, sorted({min(seeds), max(seeds)})))}"
        values = " | ".join(cells[row][name] for name in names)
        yield f"| {ROWS[row]} | {size} | {values} | {sign_flip(scenes):.2f} |"


def _cell(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return "" if math.isnan(mean) else f"{mean:+.2f}"


def shape_table(folder: Path) -> Iterator[str]:
    """Lines of Markdown: the structure of the host's maps, and what each correction adds."""
    found = read(folder)
    yield f"| correction by | {' | '.join(SHAPES)} |"
    yield "|---" * (len(SHAPES) + 1) + "|"
    everything = [run for runs in found.values() for run in runs]
    host = [
        statistics.fmean(by_scene(everything, lambda run, key=key: run["structure"]["host"][key]))
        for key in SHAPES.values()
    ]
    yield f"| host | {' | '.join(f'{value:.1f}' for value in host)} |"
    for row, runs in found.items():
        added = (by_scene(runs, _structure(key)) for key in SHAPES.values())
        yield f"| {ROWS[row]} | {' | '.join(_cell(values) for values in added)} |"


def draw(folder: Path, picture: Path) -> None:
    """Errors of b0 over boundary F1, means over scenes, beside the line of majority filters.

    The host's means, and what a row adds in the scenes that it has.
    """
    found = read(folder)
    keys = ("boundary_f1", "b0_error")
    everything = [run for runs in found.values() for run in runs]
    host = [
        statistics.fmean(by_scene(everything, lambda run, key=key: run["structure"]["host"][key]))
        for key in keys
    ]
    place = {
        row: [
            start + statistics.fmean(by_scene(runs, _structure(key)))
            for start, key in zip(host, keys, strict=True)
        ]
        for row, runs in found.items()
        if row != "labels"
    }
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    filters = [host, *(place.pop(row) for row in ROWS if row in place and "majority" in row)]
    axes.plot(*zip(*filters, strict=True), "o-", color="0.6", label="host, and majority filters")
    for marker, (row, (across, up)) in zip(itertools.cycle("sv^<>DPXph*d"), place.items()):
        axes.plot(across, up, marker, label=ROWS[row])
    axes.set_xlabel("boundary F1, 3 px (points)")
    axes.set_ylabel("error of b0 (pieces in a square)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(picture, dpi=110)


def scene_table(folder: Path) -> Iterator[str]:
    """Lines of Markdown: the host's mean IoU in each scene, and what each correction adds."""
    found = read(folder)
    everything = [run for runs in found.values() for run in runs]
    scenes = sorted({run["scene"] for run in everything})
    host = dict(zip(scenes, by_scene(everything, lambda run: points(run["host"])), strict=True))
    yield f"| | {' | '.join(scenes)} |"
    yield "|---" * (len(scenes) + 1) + "|"
    yield f"| host | {' | '.join(f'{host[scene]:.1f}' for scene in scenes)} |"
    for row, runs in found.items():
        known = {run["scene"] for run in runs}
        values = dict(zip(sorted(known), by_scene(runs, gain), strict=True))
        cells = (f"{values[scene]:+.1f}" if scene in values else "" for scene in scenes)
        yield f"| {ROWS[row]} | {' | '.join(cells)} |"


TABLES = {"rows": table, "scenes": scene_table, "structure": shape_table}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--table", "which", type=click.Choice(list(TABLES)), default="rows")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw b0 over boundary F1 here.")
def main(folder: Path, which: str, picture: Path | None) -> None:
    """Print a table of the runs in FOLDER."""
    click.echo("\n".join(TABLES[which](folder)))
    if picture is not None:
        draw(folder, picture)


if __name__ == "__main__":
    main()
