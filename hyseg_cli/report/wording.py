"""Scores in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hyseg_cli.learn.scores.comparison import Comparison
from hyseg_cli.learn.scores.evaluation import Evaluation
from hyseg_cli.report.page import format_count, format_percent
from hyseg_cli.workflows.evaluate.samples import SampleEvaluation
from hyseg_cli.workflows.evaluate.tables import format_score


def of_evaluation(evaluation: Evaluation) -> Iterator[str]:
    """How well a map agrees, its best and worst classes, and the kind of its errors."""
    scores = evaluation.agreement
    yield (
        f"{Path(evaluation.name).name} agrees with the reference on "
        f"{format_percent(scores.overall_accuracy)} of {format_count(scores.pixels)} pixels."
    )
    by_iou = {
        name: float(value)
        for name, value in zip(evaluation.legend.names, scores.iou, strict=True)
        if not math.isnan(value)
    }
    if len(by_iou) > 1:
        best, worst = max(by_iou, key=by_iou.__getitem__), min(by_iou, key=by_iou.__getitem__)
        yield (
            f"The mean IoU of its classes is {format_score(scores.mean_iou)}: best is {best} with "
            f"{format_score(by_iou[best])}, weakest {worst} with {format_score(by_iou[worst])}."
        )
    if scores.overall_accuracy < 1:
        yield (
            "Of all pixels, "
            f"{format_percent(scores.quantity_disagreement)} differ because the map has too much "
            f"of some classes and too little of others, "
            f"{format_percent(scores.allocation_disagreement)} because classes lie elsewhere."
        )
    if evaluation.unmatched.pixels:
        yield (
            f"{format_count(evaluation.unmatched.pixels)} pixels of the reference were not "
            f"compared: the map has no class {', '.join(evaluation.unmatched.names)}."
        )


def of_comparison(comparison: Comparison) -> str:
    """Whether the second map is better, by the mean IoU."""
    found = next(d for d in comparison.differences if (d.metric, d.class_name) == ("miou", None))
    if math.isnan(found.value) or math.isnan(found.interval.low):
        return "It cannot be said whether one map is better than the other."
    low, high = format_score(found.interval.low), format_score(found.interval.high)
    which = "higher" if found.value > 0 else "lower"
    verdict = "more than chance explains" if found.interval.excludes_zero else "which may be chance"
    return (
        f"The mean IoU of the second map is {format_score(abs(found.value))} {which} than that of "
        f"the first (95 % interval of the difference {low} to {high}), {verdict}."
    )


def of_samples(samples: SampleEvaluation) -> Iterator[str]:
    """The accuracy of a map from labelled points."""
    accuracy = samples.estimates.overall_accuracy
    low, high = accuracy.interval
    yield (
        f"By {format_count(int(samples.counts.sum()))} labelled points ({samples.design}), "
        f"{format_percent(accuracy.value)} of the map's area is right"
        + ("." if math.isnan(low) else f" (95 %: {format_percent(low)} to {format_percent(high)}).")
    )
    for reason, points in samples.left_out.items():
        yield f"Points left out ({reason}): {format_count(points)}."
