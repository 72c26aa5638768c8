"""Where the marks of a chart stand: positions in percent of an axis, for inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis."""

    low: float
    high: float

    @classmethod
    def from_zero(cls, values: Iterable[float]) -> Axis:
        """From zero to the largest of some values; NaN and infinity do not count."""
        known = [value for value in values if math.isfinite(value)]
        return cls(0.0, max(known, default=0.0) or 1.0)

    @classmethod
    def around_zero(cls, values: Iterable[float]) -> Axis:
        """Zero in the middle and the farthest of some values at an end."""
        reach = cls.from_zero(abs(value) for value in values).high
        return cls(-reach, reach)

    def at(self, value: float) -> float:
        """Position in percent, kept on the axis; 0 for NaN."""
        if math.isnan(value):
            return 0.0
        place = 100.0 * (value - self.low) / (self.high - self.low)
        return round(min(max(place, 0.0), 100.0), 2)


@dataclass(frozen=True)
class Whisker:
    """A value with its interval on an axis, in percent."""

    low: float
    value: float
    high: float
    reference: float
    """Something to hold it against: zero, or what the map says."""

    @classmethod
    def of(
        cls, axis: Axis, low: float, value: float, high: float, reference: float = 0.0
    ) -> Whisker | None:
        """None if the value or its interval does not exist."""
        if any(math.isnan(number) for number in (low, value, high)):
            return None
        return cls(axis.at(low), axis.at(value), axis.at(high), axis.at(reference))
