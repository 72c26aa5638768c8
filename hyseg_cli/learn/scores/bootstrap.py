"""How much a score would change if other places had been measured: a bootstrap over blocks.

Neighbouring pixels are alike, so drawing pixels would make any difference look certain. So
whole blocks of the map are drawn with replacement, and their counts are added up and scored again.
A block should be larger than the distance over which errors are correlated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyseg_cli.learn.scores.metrics import Floats

DRAWS = 2000
LEVEL = 0.95
FEW_BLOCKS = 20
"""With fewer blocks, intervals are too narrow."""
CHUNK = 100


@dataclass(frozen=True)
class Interval:
    """Where a score lies in 95 % of the draws; NaN if it is undefined in all of them."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside, so that a difference is more than chance."""
        return self.low > 0 or self.high < 0


def resample_sums(blocks: Floats, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Sums over blocks drawn with replacement, as many as there are.

    Args:
        blocks: (n, k): what was counted in each block, in an order of its own, such as by place.
        draws: How often to draw.
        seed: Seed of the draws; equal seeds and n draw the same blocks.

    Returns:
        float64 (draws, k); NaN for a single block, which says nothing about others.
    """
    count = len(blocks)
    if count < 2:
        return np.full((draws, blocks.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    shares = np.full(count, 1.0 / count)
    sums = np.empty((draws, blocks.shape[1]))
    for start in range(0, draws, CHUNK):
        stop = min(draws, start + CHUNK)
        sums[start:stop] = rng.multinomial(count, shares, size=stop - start) @ blocks
    return sums


def interval_of(replicates: Floats) -> Interval:
    """The central 95 % of some replicates; undefined ones are left out."""
    known = replicates[~np.isnan(replicates)]
    if known.size == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
