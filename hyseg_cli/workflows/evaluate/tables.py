"""Evaluations as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hyseg_cli.learn.scores.comparison import Comparison, Difference
from hyseg_cli.learn.scores.evaluation import Evaluation
from hyseg_cli.learn.scores.seams import SeamScores
from hyseg_cli.learn.scores.structure import StructureScores
from hyseg_cli.workflows.outputs import write_text

KAPPA_NOTE = (
    "kappa corrects for a kind of chance that no map follows; overall accuracy and both "
    "disagreements say more (Pontius and Millones 2011)"
)
FORM_COLUMNS = {
    "cldice": "clDice",
    "b0_error": "b0 err.",
    "b1_error": "b1 err.",
    "boundary_iou": "b. IoU",
    "boundary_f1": "b. F1",
    "pieces_per_mpx": "pc./Mpx",
    "reference_pieces_per_mpx": "in ref.",
}
NAME_WIDTH, CELL_WIDTH = 24, 8

Result = Evaluation | Comparison


def evaluations_of(result: Result) -> tuple[Evaluation, ...]:
    """The one evaluation, or both of a comparison."""
    return (result.first, result.second) if isinstance(result, Comparison) else (result,)


# ---- text ---------------------------------------------------------------------------------------


def to_text(result: Result, *, kappa: bool = False) -> str:
    """Plain tables with a line for each class; `n/a` where a score does not exist."""
    blocks = []
    for evaluation in evaluations_of(result):
        if isinstance(result, Comparison):
            blocks.append(evaluation.name)
        blocks.append("\n".join(_agreement_lines(evaluation, kappa=kappa)))
        if evaluation.structure is not None:
            blocks.append("\n".join(_form_lines(evaluation, evaluation.structure)))
        if evaluation.seams is not None:
            blocks.append(seam_line(evaluation.seams))
        if evaluation.overlap_disagreement is not None:
            blocks.append(overlap_line(evaluation.overlap_disagreement))
    if isinstance(result, Comparison):
        blocks.append("\n".join(_difference_lines(result)))
    return "\n\n".join(blocks)


def _agreement_lines(evaluation: Evaluation, *, kappa: bool) -> Iterator[str]:
    scores = evaluation.agreement
    yield _line("class", "IoU", "F1", "prec.", "recall")
    for channel, name in enumerate(evaluation.legend.names):
        mark = "" if scores.averaged[channel] else " *"
        columns = (scores.iou, scores.f1, scores.precision, scores.recall)
        yield _line(name + mark, *(format_score(values[channel]) for values in columns))
    yield _line("mean", format_score(scores.mean_iou), format_score(scores.mean_f1))
    if not scores.averaged.all():
        yield "* not in the means"
    yield _line("overall accuracy", format_score(scores.overall_accuracy))
    yield _line("freq.-weighted IoU", format_score(scores.frequency_weighted_iou))
    yield _line("quantity disagreement", format_score(scores.quantity_disagreement))
    yield _line("allocation disagreement", format_score(scores.allocation_disagreement))
    if kappa:
        yield _line("kappa", format_score(scores.kappa))
        yield KAPPA_NOTE
    yield _line("pixels compared", str(scores.pixels))
    if evaluation.unmatched.pixels:
        yield _line("pixels not compared", str(evaluation.unmatched.pixels))


def _form_lines(evaluation: Evaluation, form: StructureScores) -> Iterator[str]:
    yield _line("class", *FORM_COLUMNS.values())
    for name, scores in evaluation.by_class().items():
        yield _line(name, *(format_score(scores[column]) for column in FORM_COLUMNS))
    overall = evaluation.overall()
    yield _line("mean, sum of pieces", *(format_score(overall[column]) for column in FORM_COLUMNS))
    means = (form.mean_cl_dice, form.mean_b0_error, form.mean_b1_error)
    yield _line("standard error", *(format_score(float(mean.standard_error)) for mean in means))
    yield form_note(form)


def form_note(form: StructureScores) -> str:
    """How the scores of form were counted."""
    side = f"{form.patch_px:.0f}"
    return (
        f"over {form.patches} patches of {side} x {side} pixels on average, pieces 8-connected, "
        f"holes 4-connected; boundaries of {form.disc.radius:g} px"
    )


def seam_line(seams: SeamScores) -> str:
    """The effect of tile lines on a map, in a sentence."""
    low, high = format_score(seams.interval.low), format_score(seams.interval.high)
    return (
        f"seams: the class changes at {100 * seams.at_lines:.2f} % of the pixel pairs across tile "
        f"lines, {100 * seams.elsewhere:.2f} % elsewhere: {format_score(seams.ratio)} times as "
        f"often (95 %: {low} to {high})"
    )


def overlap_line(share: float) -> str:
    """How often overlapping tiles disagree, in a sentence."""
    return f"overlapping tiles disagree on {100.0 * share:.2f} % of their pixels"


def _difference_lines(comparison: Comparison) -> Iterator[str]:
    yield _line("second minus first", "first", "second", "diff.", "95 % from", "to")
    for entry in comparison.differences:
        name = entry.metric if entry.class_name is None else f"{entry.metric}.{entry.class_name}"
        values = (entry.first, entry.second, entry.value, entry.interval.low, entry.interval.high)
        verdict = "  more than chance" if entry.interval.excludes_zero else ""
        yield _line(name, *map(format_score, values)) + verdict
    yield bootstrap_note(comparison)


def bootstrap_note(comparison: Comparison) -> str:
    """Where the intervals of differences come from."""
    return (
        f"intervals by a bootstrap over {comparison.blocks} patches of nearly "
        f"{comparison.first.protocol.patch_px} pixels, on pixels that both maps know"
    )


def _line(name: str, *cells: str) -> str:
    return " ".join([f"{name:<{NAME_WIDTH}}", *(f"{cell:>{CELL_WIDTH}}" for cell in cells)])


def format_score(value: float) -> str:
    """Three decimals, fewer of large numbers; `n/a` for NaN."""
    if math.isnan(value):
        return "n/a"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"


# ---- JSON ---------------------------------------------------------------------------------------


def to_dict(result: Result, *, kappa: bool = False) -> dict[str, Any]:
    """All numbers, ready for JSON; what does not exist is null."""
    if isinstance(result, Evaluation):
        return _evaluation_dict(result, kappa=kappa)
    return {
        "maps": [_evaluation_dict(e, kappa=kappa) for e in evaluations_of(result)],
        "differences": [_difference_dict(entry) for entry in result.differences],
        "blocks": result.blocks,
    }


def _evaluation_dict(evaluation: Evaluation, *, kappa: bool) -> dict[str, Any]:
    protocol, form, seams = evaluation.protocol, evaluation.structure, evaluation.seams
    values: dict[str, Any] = {"name": evaluation.name, "reference": evaluation.reference}
    values |= _numbers(_overall(evaluation, kappa=kappa))
    if form is not None:
        values["standard_errors"] = _numbers(
            {
                "cldice": float(form.mean_cl_dice.standard_error),
                "b0_error": float(form.mean_b0_error.standard_error),
                "b1_error": float(form.mean_b1_error.standard_error),
            }
        )
        values["boundary_px"] = form.disc.radius
        values["patches"] = form.patches
        values["mean_patch_px"] = form.patch_px
    if seams is not None:
        values["seams"] = _numbers(
            {
                "at_lines": seams.at_lines,
                "elsewhere": seams.elsewhere,
                "ratio": seams.ratio,
                "low": seams.interval.low,
                "high": seams.interval.high,
            }
        )
    return values | {
        "pixels": evaluation.agreement.pixels,
        "patch_px": protocol.patch_px,
        "not_compared": {
            "pixels": evaluation.unmatched.pixels,
            "classes": list(evaluation.unmatched.names),
        },
        "excluded_from_means": [evaluation.legend.names[i] for i in protocol.excluded],
        "classes": {name: _numbers(scores) for name, scores in evaluation.by_class().items()},
        "confusion": evaluation.confusion.tolist(),
    }


def _overall(evaluation: Evaluation, *, kappa: bool) -> dict[str, float]:
    return {k: v for k, v in evaluation.overall().items() if kappa or k != "kappa"}


def _difference_dict(entry: Difference) -> dict[str, Any]:
    numbers = {
        "first": entry.first,
        "second": entry.second,
        "difference": entry.value,
        "low": entry.interval.low,
        "high": entry.interval.high,
    }
    return {
        "metric": entry.metric,
        "class": entry.class_name,
        **_numbers(numbers),
        "more_than_chance": entry.interval.excludes_zero,
    }


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else float(v) for k, v in values.items()}


# ---- CSV ----------------------------------------------------------------------------------------


def write_csv(path: Path, result: Result, *, kappa: bool = False) -> None:
    """One score in a row: map, metric, class, value; differences have an interval, too.

    Raises:
        HysegError: If the file cannot be written; the previous file is then kept.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["map", "metric", "class", "value", "low", "high"])
    writer.writerows(_rows(result, kappa=kappa))
    write_text(path, text.getvalue())


def _rows(result: Result, *, kappa: bool) -> Iterator[Sequence[object]]:
    for evaluation in evaluations_of(result):
        name = evaluation.name
        for metric, value in _overall(evaluation, kappa=kappa).items():
            yield name, metric, "", _field(value), "", ""
        for class_name, scores in evaluation.by_class().items():
            for metric, value in scores.items():
                yield name, metric, class_name, _field(value), "", ""
    if isinstance(result, Comparison):
        for entry in result.differences:
            interval = (_field(entry.interval.low), _field(entry.interval.high))
            row = (entry.metric, entry.class_name or "", _field(entry.value), *interval)
            yield "second minus first", *row


def _field(value: float) -> str:
    """An empty field where a score does not exist."""
    return "" if math.isnan(value) else repr(float(value))
