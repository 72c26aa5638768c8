"""Whether probabilities are calibrated: reliability, and a temperature that corrects them.

Probabilities come quantised, as whole numbers from 0 to 254 for 0 to 1, as `hyseg predict` writes
them. Sums are kept in whole numbers, so windows may come in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from hyseg_cli.legend import QUANTISED_ONE

Quantised = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BINS = 15
"""Bins of the reliability diagram, as in Guo et al. 2017 and most later papers."""
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
COVERAGES = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the pixels, the surest first, whose errors are reported."""
SAMPLE_PIXELS = 200_000
"""Pixels for fitting the temperature: its standard error is then far below a percent."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels of about the same confidence; NaN where there are none."""

    low: float
    """Confidences above this one."""
    high: float
    """Up to this one."""
    pixels: int
    confidence: float
    """Mean of the largest probability."""
    accuracy: float
    """Share of the pixels whose most probable class is right."""


@dataclass(frozen=True)
class Certainty:
    """Whether a map is less sure where it is wrong."""

    risk: dict[float, float]
    """Share of wrong pixels among the surest, by the share of the pixels that these are."""
    aurc: float
    """Area under the curve of the risk over the coverage: the mean of the risk, less is better."""
    ideal: float
    """What it would be if every right pixel were surer than every wrong one."""


@dataclass(frozen=True)
class Reliability:
    """How probabilities and outcomes agree."""

    bins: tuple[ReliabilityBin, ...]
    ece: float
    """Expected calibration error: mean of |accuracy - confidence| over the bins' pixels."""
    brier: float
    """Mean over pixels of the squared differences summed over classes, 0 to 2."""
    pixels: int
    saturated: float
    """Share of the pixels with a probability that 8 bits do not distinguish from 1."""
    certainty: Certainty


class ReliabilityCounts:
    """Counts of confidence and success; mutable, and commutative."""

    def __init__(self) -> None:
        self._pixels = np.zeros(QUANTISED_ONE + 1, np.int64)
        self._right = np.zeros(QUANTISED_ONE + 1, np.int64)
        self._squares = 0
        self._of_truth = 0

    def update(self, quantised: Quantised, reference: npt.NDArray[np.uint8]) -> None:
        """Count pixels.

        Args:
            quantised: (classes, n), 0 to 254.
            reference: (n,) true channel of each pixel.
        """
        best = quantised.argmax(axis=0)
        confidence = quantised.max(axis=0)
        size = QUANTISED_ONE + 1
        self._pixels += np.bincount(confidence, minlength=size)
        self._right += np.bincount(confidence[best == reference], minlength=size)
        # 254 squared still fits into 16 bits.
        self._squares += int(np.square(quantised, dtype=np.uint16).sum(dtype=np.int64))
        of_truth = np.take_along_axis(quantised, reference[None].astype(np.intp), axis=0)
        self._of_truth += int(of_truth.sum(dtype=np.int64))

    @property
    def pixels(self) -> int:
        """Pixels counted."""
        return int(self._pixels.sum())

    def reliability(self) -> Reliability:
        """The scores of the counts; at least one pixel must have been counted."""
        quantised = np.arange(QUANTISED_ONE + 1)
        # Bins are open below and closed above: (0, 1/15], (1/15, 2/15], ...
        bin_of = np.maximum(-(-quantised * BINS // QUANTISED_ONE) - 1, 0)
        pixels = np.bincount(bin_of, self._pixels, BINS)
        right = np.bincount(bin_of, self._right, BINS)
        confidences = np.bincount(bin_of, self._pixels * quantised, BINS) / QUANTISED_ONE
        total = self.pixels
        with np.errstate(invalid="ignore"):
            accuracy, confidence = right / pixels, confidences / pixels
        bins = tuple(
            ReliabilityBin(
                i / BINS, (i + 1) / BINS, int(pixels[i]), float(confidence[i]), float(accuracy[i])
            )
            for i in range(BINS)
        )
        # Of (p - y)^2 summed over classes, with y one for the true class alone.
        squares = self._squares / QUANTISED_ONE**2 - 2.0 * self._of_truth / QUANTISED_ONE
        return Reliability(
            bins=bins,
            ece=float(np.abs(right - confidences).sum() / total),
            brier=squares / total + 1.0,
            pixels=total,
            saturated=float(self._pixels[QUANTISED_ONE] / total),
            certainty=certainty_of(self._pixels[::-1], self._right[::-1]),
        )


def certainty_of(pixels: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Certainty:
    """Risk and coverage; pixels of equal confidence count as if in random order.

    Args:
        pixels: By falling confidence.
        right: Those of them that are right.

    Source: Geifman and El-Yaniv 2017; the ideal as in Geifman, Uziel and El-Yaniv 2019.
    """
    is_used = pixels > 0
    counts, wrong = pixels[is_used].astype(float), (pixels - right)[is_used].astype(float)
    total, rates = counts.sum(), wrong / counts
    covered, errors = (np.concatenate([[0.0], x.cumsum()]) for x in (counts, wrong))
    risk = {
        share: float(np.interp(share * total, covered, errors) / (share * total))
        for share in COVERAGES
    }
    # Within a level the errors grow by its rate: the integral of (e + r (x - c)) / x over x.
    before, after = covered[:-1], covered[1:]
    offsets = errors[:-1] - rates * before
    logs = np.log(after / np.where(before > 0, before, after))  # the first offset is zero
    area = float((rates * counts + offsets * logs).sum() / total)
    share_right = 1.0 - errors[-1] / total
    ideal = 1.0 - share_right + (share_right * math.log(share_right) if share_right > 0 else 0.0)
    return Certainty(risk, area, ideal)


class PixelSample:
    """A simple random sample of the pixels of a raster, in one pass; mutable.

    Each pixel gets a random number of its own by its row and column; those with the least ones
    are kept. The sample does not depend on how the raster is cut into windows of whole rows.
    """

    def __init__(self, size: int = SAMPLE_PIXELS, *, seed: int = 0) -> None:
        self._size, self._seed = size, seed
        self._limit = 1.0
        self._keys: list[Floats] = []
        self._quantised: list[Quantised] = []
        self._reference: list[npt.NDArray[np.uint8]] = []

    def update(
        self,
        row: int,
        quantised: Quantised,
        reference: npt.NDArray[np.uint8],
        usable: npt.NDArray[np.bool_],
    ) -> None:
        """Offer pixels.

        Args:
            row: First row of the window.
            quantised: (classes, height, width).
            reference: (height, width) channels.
            usable: bool (height, width).
        """
        width = reference.shape[1]
        keys = np.stack(
            [
                np.random.default_rng([self._seed, row + i]).random(width)
                for i in range(len(reference))
            ]
        )
        is_chosen = usable & (keys < self._limit)
        self._keys.append(keys[is_chosen])
        self._quantised.append(quantised[:, is_chosen])
        self._reference.append(reference[is_chosen])
        if sum(map(len, self._keys)) > 2 * self._size:
            self._thin()

    def take(self) -> tuple[Quantised, npt.NDArray[np.uint8]]:
        """Quantised probabilities (classes, n) and true channels (n,) of the sample."""
        self._thin()
        return self._quantised[0], self._reference[0]

    def _thin(self) -> None:
        keys = np.concatenate(self._keys)
        quantised = np.concatenate(self._quantised, axis=1)
        reference = np.concatenate(self._reference)
        # In the order of the numbers, which is that of no window.
        order = np.argsort(keys, kind="stable")[: self._size]
        if len(order) == self._size:
            self._limit = float(keys[order[-1]])
        self._keys, self._quantised = [keys[order]], [quantised[:, order]]
        self._reference = [reference[order]]


@dataclass(frozen=True)
class Temperature:
    """The number by which logits are divided to calibrate probabilities."""

    value: float
    log_loss_before: float
    """Mean of -log of the true class's probability."""
    log_loss: float
    ece_before: float
    ece: float
    pixels: int
    """That it was fitted to."""


def fit_temperature(quantised: Quantised, reference: npt.NDArray[np.uint8]) -> Temperature:
    """The temperature of least log loss (Guo et al. 2017, section 4.2).

    Logits are recovered from the probabilities; a quantised 0 counts as a half. With very confident
    networks, 8 bits clip the logits, and the temperature comes out too close to 1.

    Args:
        quantised: (classes, n), 0 to 254.
        reference: (n,) true channels.
    """
    logits = np.log(np.maximum(quantised.astype(np.float64), 0.5))
    of_truth = reference.astype(np.intp)

    def log_loss(log_temperature: float) -> float:
        scaled = _log_softmax(logits / np.exp(log_temperature))
        return -float(np.take_along_axis(scaled, of_truth[None], axis=0).mean())

    found = minimize_scalar(
        log_loss,
        bounds=(np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return Temperature(
        value=float(np.exp(found.x)),
        log_loss_before=log_loss(0.0),
        log_loss=float(found.fun),
        ece_before=_ece(np.exp(_log_softmax(logits)), of_truth),
        ece=_ece(np.exp(_log_softmax(logits / np.exp(found.x))), of_truth),
        pixels=len(of_truth),
    )


def _log_softmax(logits: Floats) -> Floats:
    """Over the first axis."""
    shifted = logits - logits.max(axis=0)
    normal: Floats = shifted - np.log(np.exp(shifted).sum(axis=0))
    return normal


def _ece(probabilities: Floats, reference: npt.NDArray[np.intp]) -> float:
    """Expected calibration error of probabilities (classes, n)."""
    confidence = probabilities.max(axis=0)
    is_right = probabilities.argmax(axis=0) == reference
    bin_of = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bin_of, is_right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(reference))
