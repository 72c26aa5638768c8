"""The spread of pixel values in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Shares of the pixels that lie below the quantiles of a model card."""


def quantiles(pixels: npt.NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    """Values below which the shares `LEVELS` of pixels (bands, n) lie, for each band."""
    found = np.quantile(pixels.astype(np.float64), LEVELS, axis=1)
    return tuple(tuple(band) for band in found.T.tolist())
