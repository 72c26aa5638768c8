"""Is one map better than another by more than chance? Differences over the same blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.scores.bootstrap import Interval, interval_of, resample_sums
from hyseg_cli.learn.scores.boundaries import BAND_COUNTS, boundary_f1, boundary_iou
from hyseg_cli.learn.scores.evaluation import Evaluation, PatchTable
from hyseg_cli.learn.scores.metrics import Floats, Margins, mean_of_known, ratio


@dataclass(frozen=True)
class Difference:
    """A score of two maps, and their difference."""

    metric: str
    class_name: str | None
    """None for a score of the whole map."""
    first: float
    second: float
    interval: Interval
    """Of the second minus the first, by a bootstrap over blocks."""

    @property
    def value(self) -> float:
        """The second minus the first."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two maps measured on the pixels that both and the reference know."""

    first: Evaluation
    second: Evaluation
    differences: tuple[Difference, ...]
    blocks: int
    """Patches that the bootstrap draws from."""

    @classmethod
    def of(cls, first: Evaluation, second: Evaluation) -> Comparison:
        """Compare evaluations of the same patches."""
        averaged, names = first.agreement.averaged, first.legend.names
        pair = [_Sums.of(evaluation.patches, averaged) for evaluation in (first, second)]
        once = [sums.scores(sums.blocks.sum(axis=0)) for sums in pair]
        # The same seed draws the same blocks for both maps, so effects common to both cancel.
        drawn = [sums.scores(resample_sums(sums.blocks)) for sums in pair]
        differences = []
        for metric in once[0]:
            values = [np.atleast_1d(scores[metric]) for scores in once]
            draws = drawn[1][metric] - drawn[0][metric]
            per_class = np.ndim(once[0][metric]) == 1
            for channel, (one, other) in enumerate(zip(*values, strict=True)):
                differences.append(
                    Difference(
                        metric,
                        names[channel] if per_class else None,
                        float(one),
                        float(other),
                        interval_of(draws[:, channel] if per_class else draws),
                    )
                )
        return cls(first, second, tuple(differences), len(first.patches.places))


@dataclass(frozen=True)
class _Sums:
    """The sums over blocks, one row of numbers per block."""

    blocks: Floats
    """(blocks, k)."""
    averaged: npt.NDArray[np.bool_]
    has_structure: bool

    @classmethod
    def of(cls, table: PatchTable, averaged: npt.NDArray[np.bool_]) -> _Sums:
        count = len(table.places)
        parts = [table.margins.reshape(count, -1).astype(float)]
        if table.structure is not None:
            parts.append(table.structure.boundary.reshape(count, -1).astype(float))
            errors = table.structure.betti_errors
            # A mean over patches also consists of sums: of the values and of their number.
            for values in (table.structure.cl_dice, errors[..., 0], errors[..., 1]):
                means = mean_of_known(values, averaged)
                parts.append(np.column_stack([np.nan_to_num(means), ~np.isnan(means)]))
        return cls(np.concatenate(parts, axis=1), averaged, table.structure is not None)

    def scores(self, sums: Floats) -> dict[str, Floats]:
        """Scores of sums (..., k): (...) for the whole map, (..., classes) for its classes."""
        lead, n = sums.shape[:-1], len(self.averaged)
        counts = sums[..., : 3 * n].reshape(*lead, n, 3)
        margins = Margins(reference=counts[..., 0], mapped=counts[..., 1], hits=counts[..., 2])
        found = {
            "miou": mean_of_known(margins.iou, self.averaged),
            "mf1": mean_of_known(margins.f1, self.averaged),
            "overall_accuracy": margins.overall_accuracy,
            "fwiou": margins.frequency_weighted_iou,
        }
        if self.has_structure:
            bands = sums[..., 3 * n : (3 + BAND_COUNTS) * n].reshape(*lead, n, BAND_COUNTS)
            found["boundary_iou"] = mean_of_known(boundary_iou(bands), self.averaged)
            found["boundary_f1"] = mean_of_known(boundary_f1(bands), self.averaged)
            means = sums[..., (3 + BAND_COUNTS) * n :]
            for index, metric in enumerate(("cldice", "b0_error", "b1_error")):
                found[metric] = ratio(means[..., 2 * index], means[..., 2 * index + 1])
        found["iou"] = margins.iou
        return found
