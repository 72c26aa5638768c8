"""The table of an experiment in Markdown, from the files of its runs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from plan import Plan, Run, read_plan

from hyseg_cli.learn.metrics import Scores

PATH = click.Path(path_type=Path, exists=True)

Measured = dict[str, Any]


def mean_iou(run: Measured) -> float:
    """Mean IoU, in points, of the pixels of all scenes that were held out.

    NaN for a network that is given the labels: no map is made with it.
    """
    if not run["scenes"]:
        return math.nan
    confusion = sum(np.array(scene["confusion"]) for scene in run["scenes"].values())
    return 100.0 * float(Scores.of(confusion).mean_iou)


def of_chips(run: Measured) -> float:
    """Mean IoU, in points, at the end of training, of chips that do not overlap."""
    return 100.0 * float(run["validation"])


def _form(key: str, factor: float = 1.0) -> Callable[[Measured], float]:
    """The mean over scenes of a score that is counted in patches."""
    return lambda run: (
        factor * statistics.fmean(scene[key] for scene in run["scenes"].values())
        if run["scenes"]
        else math.nan
    )


COLUMNS: dict[str, Callable[[Measured], float]] = {
    "mIoU": mean_iou,
    "of chips": of_chips,
    "clDice": _form("cldice", 100.0),
    "boundary F1": _form("boundary_f1", 100.0),
    "b0 error": _form("b0_error"),
    "b1 error": _form("b1_error"),
}


def table(plan: Plan, folder: Path) -> Iterator[str]:
    """Lines of Markdown: a row with mean and spread over splits and seeds, its runs counted.

    The difference is taken within a split and a seed, so that what they have in common cancels.
    """
    done = {
        (run.row.name, run.split, run.seed): values
        for run in plan.runs()
        if (values := _read(folder, run)) is not None
    }
    yield f"| {plan.title.lower()} | runs | {' | '.join(COLUMNS)} | mIoU against {plan.against} |"
    yield "|---" * (len(COLUMNS) + 3) + "|"
    for row in plan.rows:
        keys = [key for key in done if key[0] == row.name]
        if not keys:
            yield f"| {row.name} | 0 | {' | '.join('not run' for _ in COLUMNS)} | |"
            continue
        cells = [_spread([score(done[key]) for key in keys]) for score in COLUMNS.values()]
        others = {key: (plan.against, *key[1:]) for key in keys}
        gains = [
            mean_iou(done[key]) - mean_iou(done[other])
            for key, other in others.items()
            if other in done
        ]
        gain = "" if row.name == plan.against or not gains else _spread(gains, sign="+")
        yield f"| {row.name} | {len(keys)} | {' | '.join(cells)} | {gain} |"


def _read(folder: Path, run: Run) -> Measured | None:
    path = folder / f"{run.name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation; the latter only where there are two values or more."""
    mean = statistics.fmean(values)
    if math.isnan(mean):
        return "n/a"
    text = f"{mean:{sign}.1f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.1f}"


@click.command()
@click.argument("experiment", type=PATH)
@click.option("--runs", type=PATH, required=True, help="Folder that run.py wrote.")
def main(experiment: Path, runs: Path) -> None:
    """Print the table of EXPERIMENT, a TOML file."""
    click.echo("\n".join(table(read_plan(experiment), runs)))


if __name__ == "__main__":
    main()
