"""Accuracy of a map and area of its classes, estimated from a stratified random sample.

One estimator serves both cases of the literature. Where the strata are the map classes it equals
Olofsson et al. 2014 (doi:10.1016/j.rse.2014.02.015), equations 5 to 11; where they are not, it
is Stehman 2014 (doi:10.1080/01431161.2014.930207), equations 3 and 25 to 28. Every accuracy is
a mean, or a ratio of means, of an indicator of (map class, reference class), so the counts by
stratum, map class and reference class are all that is needed.

Two maps are compared at the same points: do they differ by more than chance?
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from hyseg_cli.errors import ModelMismatchError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Z_95 = 1.96
"""Half width of a 95 % interval in standard errors, to the digits that the papers use."""


@dataclass(frozen=True)
class Stratum:
    """A part of the population that was sampled separately."""

    name: str
    area_m2: float
    pixels: float
    """Pixels to draw from; infinite to leave out the correction for a finite population."""


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty; NaN where no sample allows an estimate."""

    value: float
    se: float
    """Standard error."""
    most: float = math.inf
    """Largest possible value."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, normal approximation, clipped to possible values."""
        low, high = self.value - Z_95 * self.se, self.value + Z_95 * self.se
        if math.isnan(low):
            return math.nan, math.nan
        return max(low, 0.0), min(high, self.most)


@dataclass(frozen=True)
class ClassEstimates:
    """Of one class."""

    users_accuracy: Estimate
    """Share of the area mapped as the class that belongs to it."""
    producers_accuracy: Estimate
    """Share of the class that is mapped as the class."""
    area_m2: Estimate
    """Area of the class on the ground, not of the map."""


@dataclass(frozen=True)
class Estimates:
    """The estimates for a map from a sample."""

    proportions: Floats
    """(classes, classes): share of the area by map class (row) and reference class (column)."""
    overall_accuracy: Estimate
    classes: tuple[ClassEstimates, ...]


def count_labels(
    strata: Counts, mapped: Counts, reference: Counts, *, n_strata: int, n_classes: int
) -> Counts:
    """Points by stratum, map class and reference class.

    Args:
        strata: (n,) index of each point's stratum.
        mapped: (n,) index of its map class.
        reference: (n,) index of its reference class.
        n_strata: Number of strata.
        n_classes: Number of classes.

    Returns:
        int64 (strata, map classes, reference classes).
    """
    cell = (strata * n_classes + mapped) * n_classes + reference
    counts = np.bincount(cell, minlength=n_strata * n_classes**2)
    return counts.reshape(n_strata, n_classes, n_classes)


def estimate(counts: Counts, strata: tuple[Stratum, ...]) -> Estimates:
    """Accuracy and area from the labels of a stratified random sample.

    Args:
        counts: int64 (strata, map classes, reference classes), as `count_labels` gives.
        strata: In the order of `counts`.

    Raises:
        ModelMismatchError: If a stratum has fewer than two labelled points and more pixels: its
            part of the area would be unknown, or its variance.
    """
    sampled = counts.sum(axis=(1, 2))
    for stratum, n in zip(strata, sampled.tolist(), strict=True):
        if n < min(2, stratum.pixels):
            raise ModelMismatchError(
                f"the stratum {stratum.name} has {n} labelled points; at least two are needed",
                hint="Label points of every stratum, or draw the sample again with "
                "`min_per_class` 2.",
            )
    areas = np.array([stratum.area_m2 for stratum in strata])
    pixels = np.array([stratum.pixels for stratum in strata])
    sample = _Sample(counts / sampled[:, None, None], sampled, areas / areas.sum(), pixels)
    n_classes = counts.shape[1]
    return Estimates(
        proportions=sample.proportions,
        overall_accuracy=sample.mean(np.eye(n_classes)),
        classes=tuple(_of_class(sample, k, n_classes, areas.sum()) for k in range(n_classes)),
    )


def _of_class(sample: _Sample, k: int, n_classes: int, total_m2: float) -> ClassEstimates:
    both, mapped, reference = (np.zeros((n_classes, n_classes)) for _ in range(3))
    both[k, k] = 1.0
    mapped[k, :] = 1.0
    reference[:, k] = 1.0
    share = sample.mean(reference)
    return ClassEstimates(
        users_accuracy=sample.ratio(both, mapped),
        producers_accuracy=sample.ratio(both, reference),
        area_m2=Estimate(share.value * total_m2, share.se * total_m2, total_m2),
    )


@dataclass(frozen=True)
class _Sample:
    """Shares of the points of each stratum by map and reference class, and the strata's weights."""

    shares: Floats
    """(strata, classes, classes), summing to one in each stratum."""
    sampled: Counts
    """(strata,) points."""
    weights: Floats
    """(strata,) share of the area."""
    pixels: Floats
    """(strata,)."""

    @property
    def proportions(self) -> Floats:
        whole: Floats = np.tensordot(self.weights, self.shares, axes=1)
        return whole

    def mean(self, indicator: Floats) -> Estimate:
        """Mean over the area of a function of (map class, reference class)."""
        value = float((self.proportions * indicator).sum())
        return Estimate(value, math.sqrt(self._variance(indicator)), 1.0)

    def ratio(self, part: Floats, whole: Floats) -> Estimate:
        """Mean of one function over the mean of another; NaN if the latter is zero.

        The variance is that of the residual `part - ratio * whole`, to first order.
        """
        of_whole = float((self.proportions * whole).sum())
        if of_whole == 0:
            return Estimate(math.nan, math.nan, 1.0)
        value = float((self.proportions * part).sum()) / of_whole
        residual = part - value * whole
        return Estimate(value, math.sqrt(self._variance(residual)) / of_whole, 1.0)

    def _variance(self, indicator: Floats) -> float:
        """Variance of the estimated mean of a function of (map class, reference class)."""
        mean = (self.shares * indicator).sum(axis=(1, 2))
        deviation = indicator[None] - mean[:, None, None]
        spread = (self.shares * deviation**2).sum(axis=(1, 2))  # with divisor n
        unsampled = np.clip(1.0 - self.sampled / self.pixels, 0.0, 1.0)
        # A stratum of one sampled pixel has no variance, whatever the divisor.
        divisor = np.maximum(self.sampled - 1, 1)
        return float((self.weights**2 * unsampled * spread / divisor).sum())


Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class McNemar:
    """Points by which of two maps is right, and McNemar's exact test of them."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, first: Bools, second: Bools) -> McNemar:
        """Count points (n,) at which the first and the second map are right."""
        return cls(
            both=int((first & second).sum()),
            only_first=int((first & ~second).sum()),
            only_second=int((~first & second).sum()),
            neither=int((~first & ~second).sum()),
        )

    @property
    def p_value(self) -> float:
        """The probability of a split at least this uneven if both maps are equally good.

        Points at which only one map is right are then equally often in favour of either map: the
        two-sided binomial test with one half; 1 if there are none.

        Source: McNemar 1947 (doi:10.1007/BF02295996), in its exact form.
        """
        differing = self.only_first + self.only_second
        return float(binomtest(self.only_first, differing).pvalue) if differing else 1.0
