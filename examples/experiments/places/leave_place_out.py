"""A model where nobody has labelled anything: each of four data sets is left out in turn.

    python leave_place_out.py DATA --weights vit_small.safetensors --out runs/places

DATA is the folder below which the sources lie. What a model that has not seen a place makes of it
is measured on the parts that the training of the built-in model held out, and so can be compared
with it. What was done before is not done again.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from certainty import measure

import hyseg_cli
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.learn.scores.metrics import Scores

SOURCES = Path(__file__).parents[2] / "sources"
LEGEND = SOURCES.parent / "land_cover.legend.json"
PLACES = {"dubai": "Tile [23]*", "ohio": "strip 1", "california": "[lp]*", "west_virginia": "*"}
"""What is measured of each source: two scenes, the western third, two cities, everything."""
ROWS = {
    "host": ("--preset", "vit+ablation-host"),
    "plain": ("--preset", "vit+plain"),
    "varied": ("--preset", "vit+plain", "--vary-features", "0.5"),
    "full": ("--preset", "vit+default"),
}
"""The host alone, with messages, the same with varied features, with messages along a prior."""
TRAINING = (
    "--batch-size", "8", "--chip-size", "256", "--sampling", "classes", "--class-weights", "sqrt",
    "--save-every", "50",
)  # fmt: skip


def train(
    row: str, left_out: str, data: Path, weights: Path, out: Path, options: list[str]
) -> Path:
    """Train on all sources but one; a training that was killed goes on."""
    model = out / f"{row}_{left_out}.safetensors"
    if model.is_file():
        return model
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hyseg_cli", "train", *ROWS[row], "--root", data]
    for source in PLACES:
        if source != left_out:
            command += ["--source", SOURCES / f"{source}.toml"]
    command += ["--legend", LEGEND, "--backbone-weights", weights, "--out", model, *TRAINING]
    command += ["--feature-folder", out / "features", *options]
    if model.with_suffix(".run").is_dir():
        command += ["--resume"]
    subprocess.run([str(part) for part in command], check=True)  # noqa: S603 - our own words
    return model


def carry_out(row: str, left_out: str, data: Path, model: Path) -> dict[str, Any]:
    """What the model of a row makes of the place that it has not seen."""
    loaded = load_model(model)
    place = f"{SOURCES / left_out}.toml:{PLACES[left_out]}"
    found = measure(loaded, Predictor(loaded, torch.device("cpu")), data, place)
    versions = {"hyseg": hyseg_cli.__version__, "torch": torch.__version__}
    return {
        "row": row, "left_out": left_out, "classes": found.classes,
        "confusion": found.confusion.tolist(), "versions": versions,
    }  # fmt: skip


def table(folder: Path) -> Iterator[str]:
    """Lines of Markdown: mean IoU and overall accuracy of each row in each place, over seeds.

    A place that a row lacks is empty, and so is the mean of such a row.
    """
    found: dict[str, dict[str, list[Scores]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        found[run["row"]][run["left_out"]].append(Scores.of(np.array(run["confusion"])))
    yield f"| row | seeds | {' | '.join(PLACES)} | mean |"
    yield "|---" * (len(PLACES) + 3) + "|"
    for row in (row for row in ROWS if row in found):
        scores = {place: _mean(found[row][place]) for place in PLACES if place in found[row]}
        cells = [_cell([scores[place]] if place in scores else []) for place in PLACES]
        mean = _cell(list(scores.values()) if len(scores) == len(PLACES) else [])
        seeds = "-".join(str(n) for n in sorted({len(runs) for runs in found[row].values()}))
        yield f"| {row} | {seeds} | {' | '.join(cells)} | {mean} |"


def _mean(seeds: list[Scores]) -> tuple[float, float]:
    """Mean IoU and overall accuracy over seeds."""
    return (
        statistics.fmean(float(one.mean_iou) for one in seeds),
        statistics.fmean(float(one.overall_accuracy) for one in seeds),
    )


def _cell(scores: list[tuple[float, float]]) -> str:
    if not scores:
        return ""
    return " / ".join(f"{statistics.fmean(values):.3f}" for values in zip(*scores, strict=True))


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option(
    "--row", "rows", multiple=True, type=click.Choice(list(ROWS)), default=("host", "plain")
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2))
@click.option(
    "--place",
    "places",
    multiple=True,
    type=click.Choice(list(PLACES)),
    default=tuple(PLACES),
    help="Leave out these alone.",
)
@click.option("--steps", type=int, default=300, show_default=True)
@click.option("--minutes", type=float, help="Begin no run after this time.")
def main(
    data: Path,
    weights: Path,
    out: Path,
    rows: tuple[str, ...],
    seeds: tuple[int, ...],
    places: tuple[str, ...],
    steps: int,
    minutes: float | None,
) -> None:
    """Train without one source below DATA, measure there, and print the table."""
    began = time.monotonic()
    for seed in seeds:
        for left_out in places:
            folder = out / f"{left_out}_{seed}"
            for row in rows:
                result = out / f"{row}_{left_out}_{seed}.json"
                late = minutes is not None and time.monotonic() - began > 60 * minutes
                if result.is_file() or late:
                    continue
                options = ["--seed", str(seed), "--steps", str(steps), "--prior-steps", str(steps)]
                model = train(row, left_out, data, weights, folder, options)
                found = carry_out(row, left_out, data, model) | {"seed": seed, "steps": steps}
                result.write_text(json.dumps(found) + "\n")
            done = all((out / f"{row}_{left_out}_{seed}.json").is_file() for row in rows)
            if done and folder.is_dir():
                shutil.rmtree(folder)
    click.echo("\n".join(table(out)))


if __name__ == "__main__":
    main()
