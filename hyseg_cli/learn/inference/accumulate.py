"""Sums of weighted probabilities, on any device or, faster on the CPU, by compiled loops.

Both ways give the same bytes: they add in the same order, round a product and its sum once if the
processor can, and prefer the lower class among equal sums.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyseg_cli.geo.compiled import contracting_kernel, kernel
from hyseg_cli.legend import QUANTISED_ONE

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Sums(Protocol):
    """Sums of (N, height, width), zero at first; mutable."""

    def add(self, tile: Tensor, row_weights: Floats, col_weights: Floats, start: int) -> None:
        """Add a tile (N, height, tile width) from column `start` on, weighted (height,), (width,).

        The weights are between 0 and 1.
        """
        ...

    def classes(self, rows: slice, cols: slice) -> Bytes:
        """Number of the largest sum of each pixel of a part, (rows, cols)."""
        ...

    def quantised(self, rows: slice, cols: slice) -> Bytes:
        """The sums of a part, quantised to 0 to 254, (N, rows, cols)."""
        ...

    def turn(self, overlap: int) -> None:
        """The last rows become the first ones, and all others zero."""
        ...


def make_sums(classes: int, height: int, width: int, device: torch.device) -> Sums:
    """Sums on a device."""
    made = CompiledSums if device.type == "cpu" else DeviceSums
    return made(classes, height, width, device)


class DeviceSums:
    """Sums in the memory of any device."""

    def __init__(self, classes: int, height: int, width: int, device: torch.device) -> None:
        self._sums = torch.zeros(classes, height, width, device=device)
        self._device = device

    def add(self, tile: Tensor, row_weights: Floats, col_weights: Floats, start: int) -> None:
        rows, cols = (torch.from_numpy(w).to(self._device) for w in (row_weights, col_weights))
        part = self._sums[:, :, start : start + len(col_weights)]
        part.addcmul_(tile, rows.unsqueeze(1) * cols)

    def classes(self, rows: slice, cols: slice) -> Bytes:
        # max, not argmax: five times faster on the CPU in this layout.
        found: Bytes = self._sums[:, rows, cols].max(dim=0).indices.to(torch.uint8).cpu().numpy()
        return found

    def quantised(self, rows: slice, cols: slice) -> Bytes:
        scaled = self._sums[:, rows, cols] * QUANTISED_ONE
        found: Bytes = scaled.round().to(torch.uint8).cpu().numpy()
        return found

    def turn(self, overlap: int) -> None:
        self._sums[:, :overlap] = self._sums[:, self._sums.shape[1] - overlap :].clone()
        self._sums[:, overlap:] = 0.0


class CompiledSums:
    """Sums in the memory of the CPU."""

    def __init__(self, classes: int, height: int, width: int, _: torch.device) -> None:
        self._sums = np.zeros((classes, height, width), np.float32)

    def add(self, tile: Tensor, row_weights: Floats, col_weights: Floats, start: int) -> None:
        probabilities = tile.detach().float().contiguous().numpy()
        add_weighted(self._sums, probabilities, row_weights, col_weights, start)

    def classes(self, rows: slice, cols: slice) -> Bytes:
        found = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        largest(self._sums, rows.start, cols.start, found)
        return found

    def quantised(self, rows: slice, cols: slice) -> Bytes:
        shape = len(self._sums), rows.stop - rows.start, cols.stop - cols.start
        found = np.empty(shape, np.uint8)
        quantise(self._sums, rows.start, cols.start, np.float32(QUANTISED_ONE), found)
        return found

    def turn(self, overlap: int) -> None:
        for plane in self._sums:
            plane[:overlap] = plane[len(plane) - overlap :]
            plane[overlap:] = 0.0


@contracting_kernel
def add_weighted(
    sums: Floats, probabilities: Floats, row_weights: Floats, col_weights: Floats, start: int
) -> None:
    """Add probabilities (N, height, width) to the sums from column `start` on."""
    classes, height, width = probabilities.shape
    for number in range(classes):
        for row in range(height):
            weight = row_weights[row]
            if weight == 0.0:
                continue
            source, target = probabilities[number, row], sums[number, row, start : start + width]
            for col in range(width):
                target[col] += source[col] * (weight * col_weights[col])


@kernel
def largest(sums: Floats, first_row: int, first_col: int, found: Bytes) -> None:
    """Which of the sums (N, height, width) is the largest at each pixel of a part."""
    rows, cols = found.shape
    best, which = np.empty(cols, np.float32), np.empty(cols, np.int32)
    # Class by class along a row, not pixel by pixel, so that many columns are compared at once.
    for row in range(rows):
        best[:] = sums[0, first_row + row, first_col : first_col + cols]
        which[:] = 0
        for number in range(1, len(sums)):
            plane = sums[number, first_row + row, first_col : first_col + cols]
            for col in range(cols):
                is_larger = plane[col] > best[col]
                best[col] = plane[col] if is_larger else best[col]
                which[col] = np.int32(number) if is_larger else which[col]
        for col in range(cols):
            found[row, col] = which[col]


@kernel
def quantise(sums: Floats, first_row: int, first_col: int, scale: np.float32, found: Bytes) -> None:
    """A part of the sums (N, height, width) times a scale, halves rounded to even."""
    classes, rows, cols = found.shape
    for number in range(classes):
        for row in range(rows):
            plane = sums[number, first_row + row, first_col : first_col + cols]
            for col in range(cols):
                found[number, row, col] = np.uint8(np.rint(plane[col] * scale))
