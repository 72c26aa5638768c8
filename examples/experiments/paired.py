"""The table of corrections of one frozen host, scene by scene, from the files of their runs.

    python paired.py runs/scores

A run file holds the confusion matrices of the host's map, of the corrected map, and of the map
that the same weights make with a wrong prior, that of the scene turned by 180 degrees. The scene is
the unit: seeds are averaged within it before anything is compared, and the test flips the signs of
scenes.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from hyseg_cli.learn.scores.metrics import Scores

Measured = dict[str, Any]

ROWS = {
    "labels": "the labels (oracle)",
    "rgb": "colours, 7 x 7",
    "own": "the host's own probabilities",
    "majority": "majority filter, 15 x 15 pixels",
    "learnt": "learnt from map and image",
    "shared": "the same, one gate between 0 and 1",
    "evid": "corrector without noise",
    "mean": "corrector, noise left out",
    "flow": "corrector from map and noise",
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
    def difference(run: Measured) -> float:
        found = run.get("structure")
        return found["own"][key] - found["host"][key] if found else math.nan

    return difference


COLUMNS: dict[str, Callable[[Measured], float]] = {
    "mIoU against host": gain,
    "prior use": use,
    "boundary F1": _structure("boundary_f1"),
    "b0 error": _structure("b0_error"),
}


def by_scene(runs: Sequence[Measured], score: Callable[[Measured], float]) -> list[float]:
    """A score of each scene, the mean over its seeds, in the order of scenes."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        found[str(run["fold"])].append(score(run))
    return [statistics.fmean(found[scene]) for scene in sorted(found)]


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of a mean difference: the share of sign patterns with one as large.

    Exact, over all 2^n patterns; with n scenes none is below 2^(1 - n).
    """
    values = np.array(differences)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
    means = np.abs((signs * values).mean(axis=1))
    return float((means >= abs(values.mean()) - 1e-12).mean())


def interval(differences: Sequence[float], *, draws: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean difference by a bootstrap over scenes."""
    values = np.array(differences)
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def read(folder: Path) -> dict[str, list[Measured]]:
    """The runs in a folder, by row, in the order of `ROWS`."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
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
        low, high = interval(scenes)
        cells[row]["mIoU against host"] += f" ({low:+.2f} to {high:+.2f})"
        size = f"{len(scenes)} x {len({run['seed'] for run in runs})}"
        values = " | ".join(cells[row][name] for name in names)
        yield f"| {ROWS[row]} | {size} | {values} | {sign_flip(scenes):.2f} |"


def _cell(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return "" if math.isnan(mean) else f"{mean:+.2f}"


def scene_table(folder: Path) -> Iterator[str]:
    """Lines of Markdown: the host's mean IoU in each scene, and what each correction adds."""
    found = read(folder)
    everything = [run for runs in found.values() for run in runs]
    scenes = sorted({str(run["fold"]) for run in everything})
    host = {str(run["fold"]): points(run["host"]) for run in everything}
    yield f"| | {' | '.join(scenes)} |"
    yield "|---" * (len(scenes) + 1) + "|"
    yield f"| host | {' | '.join(f'{host[scene]:.1f}' for scene in scenes)} |"
    for row, runs in found.items():
        known = {str(run["fold"]) for run in runs}
        values = dict(zip(sorted(known), by_scene(runs, gain), strict=True))
        cells = (f"{values[scene]:+.1f}" if scene in values else "" for scene in scenes)
        yield f"| {ROWS[row]} | {' | '.join(cells)} |"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--by-scene", "scenes", is_flag=True, help="What each correction adds in each scene.")
def main(folder: Path, *, scenes: bool) -> None:
    """Print the table of the runs in FOLDER."""
    click.echo("\n".join(scene_table(folder) if scenes else table(folder)))


if __name__ == "__main__":
    main()
