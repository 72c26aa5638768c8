"""What is measured of the pixel values of the training, to make input of a network of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERCENTILES = (0.5, 99.5)
"""Of images that are not 8-bit: glints and dead pixels beyond them are cut off."""


@dataclass(frozen=True)
class Radiometry:
    """What was measured of the values of each band over the training pixels."""

    mean: tuple[float, ...]
    """In units of the scenes, after the values were cut to the limits."""
    std: tuple[float, ...]
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Smallest and largest value of each band; None where all count, as of 8-bit images."""


def radiometry_of_sample(sample: npt.NDArray[np.float32]) -> Radiometry:
    """Limits at `PERCENTILES`, mean and deviation between them, of pixels (bands, n)."""
    low, high = np.percentile(sample, PERCENTILES, axis=1)
    cut = sample.astype(np.float64).clip(low[:, None], high[:, None])
    return Radiometry(
        tuple(cut.mean(axis=1).tolist()),
        tuple(np.maximum(cut.std(axis=1), _LEAST_STD).tolist()),
        (tuple(low.tolist()), tuple(high.tolist())),
    )


_LEAST_STD = 1e-6
"""Of a band that has one value only."""
