"""How many points each stratum of a sample gets, and how many are needed in all."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Allocation = Literal["proportional", "equal", "neyman", "olofsson"]

LEAST_POINTS = 2
"""In a stratum, for a variance to exist."""
LEAST_POINTS_OLOFSSON = 50
"""Olofsson et al. 2014, section 5.1.2: 50 to 100 points for a rare class, the rest by area."""


def default_minimum(allocation: Allocation) -> int:
    """The default least number of points in every stratum."""
    return LEAST_POINTS_OLOFSSON if allocation == "olofsson" else LEAST_POINTS


def allocate(
    count: int,
    allocation: Allocation,
    *,
    areas: Floats,
    pixels: Counts,
    expected: Floats,
    minimum: int,
) -> Counts:
    """Points of each stratum, `count` in all.

    Proportional and olofsson go by area and differ in their usual minimum, neyman by area and
    standard deviation (Cochran 1977, equation 5.26). A stratum never gets more points than it
    has pixels; its surplus, and the points taken by the minimum, are divided among the others.

    Args:
        count: Points in all.
        allocation: The rule.
        areas: (strata,) in any unit.
        pixels: (strata,).
        expected: (strata,) accuracy that is expected in each, 0 to 1.
        minimum: Points that each gets, or all of its pixels if they are fewer.

    Raises:
        UsageProblemError: If the minimums are more than `count`, or the pixels are fewer.
    """
    least = np.minimum(minimum, pixels)
    if least.sum() > count:
        raise UsageProblemError(
            f"{count} points are too few for {len(areas)} strata of at least {minimum} each",
            hint=f"Give `count` {least.sum()} or more, or a lower `min_per_class`.",
        )
    if pixels.sum() < count:
        raise UsageProblemError(
            f"{count} points cannot be drawn from {pixels.sum()} pixels",
            hint="Give a lower `count`, or a higher `target_se`.",
        )
    wishes = _wishes(allocation, areas, expected)
    return _whole(_within(count * wishes / wishes.sum(), least, pixels), least, pixels, count)


def count_for(
    target_se: float,
    allocation: Allocation,
    *,
    areas: Floats,
    pixels: Counts,
    expected: Floats,
    minimum: int,
) -> int:
    """The fewest points whose expected standard error of overall accuracy is at most `target_se`.

    With neyman, and a population much larger than the sample, this is equation 13 of Olofsson
    et al. 2014.

    Args:
        target_se: Standard error, 0 to 1.
        allocation: How the points are divided.
        areas: As `allocate` takes.
        pixels: As `allocate` takes.
        expected: As `allocate` takes.
        minimum: As `allocate` takes.
    """
    low, high = int(np.minimum(minimum, pixels).sum()), int(pixels.sum())
    while low < high:
        middle = (low + high) // 2
        points = allocate(
            middle, allocation, areas=areas, pixels=pixels, expected=expected, minimum=minimum
        )
        if expected_se(points, areas=areas, pixels=pixels, expected=expected) <= target_se:
            high = middle
        else:
            low = middle + 1
    return low


def expected_se(points: Counts, *, areas: Floats, pixels: Counts, expected: Floats) -> float:
    """Standard error of overall accuracy if the accuracies are as expected."""
    weights = areas / areas.sum()
    unsampled = 1.0 - points / pixels
    spread = expected * (1.0 - expected)
    return float(np.sqrt((weights**2 * unsampled * spread / points).sum()))


def _wishes(allocation: Allocation, areas: Floats, expected: Floats) -> Floats:
    if allocation == "equal":
        return np.ones(len(areas))
    if allocation == "neyman":
        # If certainty is expected of all strata, there would be nothing to divide by.
        return areas * np.sqrt(np.maximum(expected * (1.0 - expected), 1e-9))
    return areas


def _within(wanted: Floats, least: Counts, most: Counts) -> Floats:
    """The shares, scaled where they are free, so that all bounds and the total hold.

    Water filling: one factor for all shares, found by bisection, then cut to the bounds.
    """
    low, high = 0.0, float(np.max(most / wanted))
    for _ in range(100):
        factor = (low + high) / 2.0
        if np.clip(wanted * factor, least, most).sum() < wanted.sum():
            low = factor
        else:
            high = factor
    filled: Floats = np.clip(wanted * high, least, most)
    return filled


def _whole(wanted: Floats, least: Counts, most: Counts, count: int) -> Counts:
    """Whole numbers next to the wanted ones, the largest remainders rounded up."""
    points = np.clip(np.floor(wanted + 1e-9).astype(np.int64), least, most)
    order = np.argsort(-(wanted - points), kind="stable")
    while (missing := count - int(points.sum())) > 0:
        open_ones = order[points[order] < most[order]][:missing]
        points[open_ones] += 1
    return points
