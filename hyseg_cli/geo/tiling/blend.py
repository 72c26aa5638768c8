"""The weight of each tile where it overlaps its neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.tiling.grid import Span

TRIM_SHARE = 8
"""The outer 1/8 of an overlap gets no weight: predictions at a tile's very edge are the worst."""


def blend_weights(span: Span) -> npt.NDArray[np.float32]:
    """Weight of each pixel of each tile along one axis.

    A raised cosine across the overlap; the product of the weights of both axes is the weight of
    a pixel of a tile. Since they sum to one beforehand, no count of visits has to be kept and
    nothing is divided afterwards.

    Returns:
        float32 (tiles, length), values in [0, 1]; at every pixel between the first and the last
        tile edge the weights of all tiles that cover it sum to one.

    Source: the Hann overlap-add condition; the sum is checked in tests/geo/tiling/test_blend.py.
    """
    return np.stack([weights_of_tile(span, index) for index in range(len(span.starts))])


def weights_of_tile(span: Span, index: int) -> npt.NDArray[np.float32]:
    """Weights of one tile, float32 (length,); a scene may have more tiles than memory holds."""
    weights = np.ones(span.length)
    overlap = span.overlap
    if overlap:
        trim = overlap // TRIM_SHARE
        ramp = np.zeros(overlap)
        inner = overlap - 2 * trim
        ramp[trim : overlap - trim] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(inner) + 0.5) / inner)
        ramp[overlap - trim :] = 1.0
        if index > 0:
            weights[:overlap] = ramp
        if index < len(span.starts) - 1:
            weights[span.length - overlap :] = 1.0 - ramp
    return weights.astype(np.float32)
