"""What accuracy to expect, from polygons that were left out, and what to draw next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.few.probe import Samples

Floats = npt.NDArray[np.float64]

CONFUSED = 0.15
"""Share of one class that is taken for another from which on both need more polygons."""
UNLIKE = 0.15
"""Part of the variance of the features that lies between scenes from which on they look unlike."""
Z_95 = 1.959964
"""Normal quantile of a two-sided 95 % interval."""
MORE = 5
"""Polygons that are advised at a time."""


@dataclass(frozen=True)
class ClassExpectation:
    """What to expect of one class."""

    name: str
    polygons: int
    found: float | None
    """Share of its pixels that are found; None for a class with a single polygon."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None


@dataclass(frozen=True)
class Expected:
    """What polygons that were left out say of the map."""

    classes: tuple[ClassExpectation, ...]
    confusion: Floats
    """(N, N) share of the pixels of each class (row) that are taken for each class (column),
    polygons weighing alike; NaN in the rows of classes that could not be left out."""
    advice: tuple[str, ...]
    """What to draw next, the most useful first."""

    @property
    def accuracy(self) -> float | None:
        """Mean share of pixels found over the classes that could be left out."""
        found = [entry.found for entry in self.classes if entry.found is not None]
        return float(np.mean(found)) if found else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a model card and for JSON."""
        return {
            "of": "polygons that were left out",
            "expected_accuracy": self.accuracy,
            "classes": [
                {
                    "name": entry.name,
                    "polygons": entry.polygons,
                    "found": entry.found,
                    "interval_95": None if entry.low is None else [entry.low, entry.high],
                }
                for entry in self.classes
            ],
            "confusion": [
                [None if np.isnan(share) else share for share in row]
                for row in self.confusion.tolist()
            ],
            "advice": list(self.advice),
        }

    def to_text(self) -> str:
        """A table with the advice below it."""
        wide = max(5, *(len(entry.name) for entry in self.classes))
        lines = [f"{'class':<{wide}}  polygons  pixels found (95 % interval)  taken for"]
        for row, entry in enumerate(self.classes):
            lines.append(
                f"{entry.name:<{wide}}  {entry.polygons:>8}  {_found(entry):<29}  {self._lost(row)}"
            )
        if self.accuracy is not None:
            lines.append(
                f"expect {self.accuracy:.0%} of pixels to be right, classes weighing alike (inside "
                "polygons that were left out; borders between classes are harder)"
            )
        return "\n".join([*lines, *(f"advice: {text}" for text in self.advice)])

    def _lost(self, row: int) -> str:
        shares = self.confusion[row]
        if np.isnan(shares).any():
            return ""
        order = [c for c in np.argsort(-shares) if c != row and shares[c] >= 0.01]
        return ", ".join(f"{self.classes[c].name} {shares[c]:.0%}" for c in order[:2])


def _found(entry: ClassExpectation) -> str:
    if entry.found is None or entry.low is None or entry.high is None:
        return "a guess: a single polygon"
    return f"{entry.found:>4.0%}  ({entry.low:.0%} to {entry.high:.0%})"


def expect(
    samples: Samples, held_out: npt.NDArray[np.float32] | None, names: Sequence[str]
) -> Expected:
    """What to expect of a head.

    The intervals are Wilson's, with polygons as trials: pixels of a polygon are alike, so that
    they count once.

    Args:
        samples: What the head was fitted to.
        held_out: Probabilities of each sample by heads that had not seen its polygon, as in
            `probe.Fit.held_out`.
        names: Names of the classes.

    Source: Wilson 1927, for the intervals.
    """
    count = len(names)
    confusion = np.full((count, count), np.nan)
    polygons = np.zeros(count, np.int64)
    for channel in range(count):
        own = np.unique(samples.polygon[samples.channel == channel])
        polygons[channel] = len(own)
        if held_out is not None and len(own) > 1:
            taken_for = [_shares(samples, held_out, channel, polygon) for polygon in own]
            confusion[channel] = np.mean(taken_for, axis=0)
    entries = tuple(
        _expectation(name, int(polygons[c]), float(confusion[c, c])) for c, name in enumerate(names)
    )
    return Expected(entries, confusion, advise(entries, confusion))


def _shares(
    samples: Samples, held_out: npt.NDArray[np.float32], channel: int, polygon: int
) -> Floats:
    """Share of the pixels of a polygon that are taken for each class."""
    own = (samples.polygon == polygon) & (samples.channel == channel)
    taken = held_out[own].argmax(axis=1)
    shares: Floats = np.bincount(taken, minlength=held_out.shape[1]) / own.sum()
    return shares


def _expectation(name: str, polygons: int, found: float) -> ClassExpectation:
    if np.isnan(found):
        return ClassExpectation(name, polygons, None, None, None)
    return ClassExpectation(name, polygons, found, *wilson(found, polygons))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share that was found in some trials."""
    spread = Z_95**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * np.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low, high = float(middle - half), float(middle + half)
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def advise(entries: Sequence[ClassExpectation], confusion: Floats) -> tuple[str, ...]:
    """What to draw next: single polygons first, then pairs that are confused, the worst first."""
    lines = [
        f"{entry.name} has a single polygon, so its part of the map is a guess: draw {MORE} more"
        for entry in entries
        if entry.polygons == 1
    ]
    shares = np.nan_to_num(confusion)
    either = np.maximum(shares, shares.T)
    pairs = [(i, j) for i in range(len(entries)) for j in range(i) if either[i, j] >= CONFUSED]
    for i, j in sorted(pairs, key=lambda pair: -either[pair])[:3]:
        one, other = sorted((entries[i].name, entries[j].name))
        lines.append(
            f"{one} and {other} are confused ({either[i, j]:.0%} of one is taken for the other): "
            f"draw {MORE} more of each, where they look alike"
        )
    if not lines:
        lines.append("no two classes are confused: draw where the map is wrong, if it is anywhere")
    return tuple(lines)


def unlike_scenes(means: Sequence[Floats], names: Sequence[str]) -> str | None:
    """A warning if scenes look unlike each other, None if not.

    Args:
        means: Mean of the standardised features of each scene, (C,) each.
        names: Their names.
    """
    if len(means) < 2:
        return None
    between = np.square(np.stack(means)).mean(axis=1)
    worst = int(between.argmax())
    if between[worst] < UNLIKE:
        return None
    return (
        f"{names[worst]} looks unlike the other scenes: draw polygons of every class on it, or "
        "train a model of its own for it"
    )
