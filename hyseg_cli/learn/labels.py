"""Label rasters, as class ids or as colours, to the channels of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.legend import NODATA_ID, Legend, format_color

NO_COLOR = -1
"""Stands for a pixel without label among packed colours."""


def encode_labels(
    raster: npt.NDArray[Any],
    legend: Legend,
    name: str,
    valid: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """The channel of each pixel's class.

    Args:
        raster: (1, height, width) of class ids, or (3 or 4, height, width) of colours.
        legend: The classes; what it ignores becomes 255.
        name: What to call the raster in errors.
        valid: bool (height, width), False where the values mean nothing; None for nowhere.

    Returns:
        uint8 (height, width), 0..N-1, or 255 where the pixel is unlabelled.

    Raises:
        HysegError: If a value or colour is not in the legend.
    """
    if len(raster) >= 3:
        return _encode_colors(raster[:3], legend, name, valid)
    return encode_ids(raster[0], legend, name, valid)


def encode_ids(
    values: npt.NDArray[Any],
    legend: Legend,
    name: str,
    valid: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """The channel of each pixel's class.

    Args:
        values: (height, width) of class ids; 255 means unlabelled.
        legend: The classes; what it ignores becomes 255.
        name: What to call the raster in errors.
        valid: bool (height, width), False where the values mean nothing; None for nowhere.

    Returns:
        uint8 (height, width), 0..N-1, or 255 where the pixel is unlabelled.

    Raises:
        HysegError: If the values are no whole numbers or one is not in the legend.
    """
    if values.dtype.kind not in "iub":
        raise HysegError(
            f"{name}: labels must be whole numbers, not {values.dtype}",
            hint="Write the labels as an integer raster of class ids.",
        )
    unlabelled = {NODATA_ID, *legend.ignored_ids}
    found = np.unique(values if valid is None else values[valid])
    unknown = sorted(set(found.tolist()) - unlabelled - set(legend.ids))
    if unknown:
        raise HysegError(
            f"{name}: the label value {unknown[0]} is not in the legend "
            f"(it has {', '.join(map(str, legend.ids))})",
            hint="Add the class to the legend, or the value to its list of ignored ones.",
        )
    channels = np.full(values.shape, NODATA_ID, np.uint8)
    for channel, class_id in enumerate(legend.ids):
        if class_id not in unlabelled:
            channels[values == class_id] = channel
    if valid is not None:
        channels[~valid] = NODATA_ID
    return channels


def _encode_colors(
    colors: npt.NDArray[Any], legend: Legend, name: str, valid: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint8]:
    packed = _pack(colors[0], colors[1], colors[2])
    if valid is not None:
        packed = np.where(valid, packed, NO_COLOR)
    channel_of = {NO_COLOR: NODATA_ID}
    channel_of |= {_pack(*entry.color): i for i, entry in enumerate(legend.classes)}
    channel_of |= {_pack(*color): NODATA_ID for color in legend.ignored_colors}
    found, inverse = np.unique(packed, return_inverse=True)
    unknown = [value for value in found.tolist() if value not in channel_of]
    if unknown:
        color = ((unknown[0] >> 16) & 255, (unknown[0] >> 8) & 255, unknown[0] & 255)
        raise HysegError(
            f"{name}: the label colour {format_color(color)} is not in the legend",
            hint="Add the class to the legend, or the colour to its list of ignored ones.",
        )
    table = np.array([channel_of[value] for value in found.tolist()], np.uint8)
    return table[inverse.reshape(packed.shape)]


def _pack(red: Any, green: Any, blue: Any) -> Any:
    """A colour as one number, for scalars and arrays alike."""
    wide = np.int64
    packed = (wide(red) << 16) | (wide(green) << 8) | wide(blue)
    return int(packed) if np.ndim(packed) == 0 else packed
