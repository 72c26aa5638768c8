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

from hyseg_cli.learn.scores.metrics import Scores

PATH = click.Path(path_type=Path, exists=True)

Measured = dict[str, Any]


def mean_iou(run: Measured) -> float:
    """Mean IoU, in points, of the pixels of all scenes that were held out.

    NaN for a network that is given the labels, because it makes no map.
    """
    if not run["scenes"]:
        return math.nan
    return 100.0 * float(_scores(run).mean_iou)


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
    done = _done(plan, folder)
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


def table_by_split(plan: Plan, folder: Path, row: str) -> Iterator[str]:
    """Lines of Markdown: the scores of a row on each split, by class, as means over the seeds.

    Raises:
        click.UsageError: If nothing of this row has been run.
    """
    done = _done(plan, folder)
    known = [values for (name, *_), values in done.items() if name == row and values["scenes"]]
    if not known:
        raise click.UsageError(f"nothing is known of {row}")
    classes = list(dict.fromkeys(c for run in known for c in _class_ious(run)))
    with_others = row != plan.against and any(name == plan.against for name, *_ in done)
    yield (
        f"| held out | mIoU |{f' against {plan.against} |' if with_others else ''} accuracy | "
        f"{' | '.join(classes)} |"
    )
    yield "|---" * (3 + with_others + len(classes)) + "|"
    for split in plan.splits:
        seeds = [seed for seed in plan.seeds if (row, split, seed) in done]
        runs = [done[row, split, seed] for seed in seeds]
        if not runs:
            yield f"| {split} | not run |" + " |" * (1 + with_others + len(classes))
            continue
        cells = [f"{statistics.fmean(map(mean_iou, runs)):.1f}"]
        if with_others:
            gains = [
                mean_iou(done[row, split, seed]) - mean_iou(done[plan.against, split, seed])
                for seed in seeds
                if (plan.against, split, seed) in done
            ]
            cells.append(_spread(gains, sign="+") if gains else "not run")
        cells.append(f"{statistics.fmean(map(accuracy, runs)):.1f}")
        for name in classes:
            ious = [_class_ious(run).get(name, math.nan) for run in runs]
            cells.append("none" if math.isnan(ious[0]) else f"{statistics.fmean(ious):.1f}")
        yield f"| {split} | {' | '.join(cells)} |"


def _class_ious(run: Measured) -> dict[str, float]:
    """IoU of each class that occurs, in points, of the pixels of all scenes held out."""
    names = next(iter(run["scenes"].values()))["classes"]
    return dict(zip(names, (100.0 * _scores(run).iou).tolist(), strict=True))


def _scores(run: Measured) -> Scores:
    """Of the pixels of all scenes that were held out."""
    return Scores.of(sum(np.array(scene["confusion"]) for scene in run["scenes"].values()))


def accuracy(run: Measured) -> float:
    """Percentage of correct pixels of all scenes that were held out."""
    return 100.0 * float(_scores(run).overall_accuracy)


def _done(plan: Plan, folder: Path) -> dict[tuple[str, str, int], Measured]:
    """The finished runs, by row, split and seed."""
    return {
        (run.row.name, run.split, run.seed): values
        for run in plan.runs()
        if (values := _read(folder, run)) is not None
    }


def _read(folder: Path, run: Run) -> Measured | None:
    path = run.find(folder)
    return None if path is None else json.loads(path.read_text())


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation; the latter only if there are two or more values."""
    mean = statistics.fmean(values)
    if math.isnan(mean):
        return "n/a"
    text = f"{mean:{sign}.1f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.1f}"


@click.command()
@click.argument("experiment", type=PATH)
@click.option("--runs", type=PATH, required=True, help="Folder that run.py wrote.")
@click.option("--by-split", metavar="ROW", help="What this row reaches on each split.")
def main(experiment: Path, runs: Path, by_split: str | None) -> None:
    """Print the table of EXPERIMENT, a TOML file."""
    plan = read_plan(experiment)
    lines = table(plan, runs) if by_split is None else table_by_split(plan, runs, by_split)
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
