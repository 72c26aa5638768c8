"""Label rasters of class ids or colours, converted to class indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.legend import NODATA_ID, ClassIndices, Legend, format_color

Mask = npt.NDArray[np.bool_]

NO_COLOR = -1
"""Stands for a pixel without label among packed colours."""


@dataclass(frozen=True)
class Encoded:
    """Labels as class indices of a legend, and values that the legend lacks."""

    channels: ClassIndices
    """(height, width), 0..N-1, or 255 where the pixel is unlabelled or unmatched."""
    is_unmatched: Mask
    """(height, width), True where the value or colour is not in the legend."""
    unmatched: tuple[str, ...]
    """Those values or colours."""


def encode_labels(
    raster: npt.NDArray[Any], legend: Legend, name: str, valid: Mask | None = None
) -> ClassIndices:
    """The channel of each pixel's class; see `encode_known` for the arguments.

    Raises:
        HysegError: If ids are not whole numbers, or a value or colour is not in the legend.
    """
    encoded = encode_known(raster, legend, name, valid)
    if encoded.unmatched:
        what = "colour" if len(raster) >= 3 else "value"
        known = "" if len(raster) >= 3 else f" (it has {', '.join(map(str, legend.ids))})"
        raise HysegError(
            f"{name}: the label {what} {encoded.unmatched[0]} is not in the legend{known}",
            hint=f"Add the class to the legend, or the {what} to its list of ignored ones.",
        )
    return encoded.channels


def encode_known(
    raster: npt.NDArray[Any], legend: Legend, name: str, valid: Mask | None = None
) -> Encoded:
    """The channel of each pixel's class, where the legend has it.

    Args:
        raster: (1, height, width) of class ids, 255 meaning unlabelled unless the legend names
            it, or (3 or 4, height, width) of colours.
        legend: The classes; ignored values become 255.
        name: What to call the raster in errors.
        valid: bool (height, width), False where the values are to be ignored; None for all valid.

    Raises:
        HysegError: If ids are not whole numbers.
    """
    if len(raster) >= 3:
        return _encode_colors(raster[:3], legend, valid)
    values = raster[0]
    if values.dtype.kind not in "iub":
        raise HysegError(
            f"{name}: labels must be whole numbers, not {values.dtype}",
            hint="Write the labels as an integer raster of class ids.",
        )
    # A legend may name 255: masks of one class are often 0 and 255.
    channel_of = {NODATA_ID: NODATA_ID}
    channel_of |= {class_id: channel for channel, class_id in enumerate(legend.ids)}
    channel_of |= dict.fromkeys(legend.ignored_ids, NODATA_ID)
    found, inverse = _distinct(values)
    return _look_up(found, inverse, channel_of, valid, str)


def _encode_colors(colors: npt.NDArray[Any], legend: Legend, valid: Mask | None) -> Encoded:
    packed = _pack(colors[0], colors[1], colors[2])
    if valid is not None:
        packed = np.where(valid, packed, NO_COLOR)
    channel_of = {NO_COLOR: NODATA_ID}
    channel_of |= {_pack(*entry.color): i for i, entry in enumerate(legend.classes)}
    channel_of |= {_pack(*color): NODATA_ID for color in legend.ignored_colors}
    found, inverse = np.unique(packed, return_inverse=True)
    return _look_up(found, inverse.reshape(packed.shape), channel_of, valid, _color_text)


def _distinct(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Values, in rising order, and the position of each pixel's value among them."""
    if values.dtype == np.uint8:
        # A table of all possible values is cheaper than a search for those that occur.
        return np.arange(256), values
    found, inverse = np.unique(values, return_inverse=True)
    return found, inverse.reshape(values.shape)


def _look_up(
    found: npt.NDArray[Any],
    inverse: npt.NDArray[Any],
    channel_of: Mapping[int, int],
    valid: Mask | None,
    text_of: Callable[[int], str],
) -> Encoded:
    """Class indices of pixels whose values are `found[inverse]`."""
    known = np.array([value in channel_of for value in found.tolist()], np.bool_)
    table = np.array([channel_of.get(value, NODATA_ID) for value in found.tolist()], np.uint8)
    channels = table[inverse]
    is_unmatched = np.zeros(inverse.shape, np.bool_) if known.all() else ~known[inverse]
    if valid is not None:
        channels[~valid] = NODATA_ID
        is_unmatched &= valid
    positions = np.unique(inverse[is_unmatched])
    unmatched = tuple(text_of(int(value)) for value in found[positions].tolist())
    return Encoded(channels, is_unmatched, unmatched)


def _color_text(packed: int) -> str:
    return format_color(((packed >> 16) & 255, (packed >> 8) & 255, packed & 255))


def _pack(red: Any, green: Any, blue: Any) -> Any:
    """A colour as one number, for scalars and arrays."""
    wide = np.int64
    packed = (wide(red) << 16) | (wide(green) << 8) | wide(blue)
    return int(packed) if np.ndim(packed) == 0 else packed
