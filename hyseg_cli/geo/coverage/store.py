"""Tables of numbers that grow, in memory or, once large, in files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SPILL_BYTES = 1 << 30
"""A table larger than this moves to disk, where the system decides what stays in memory."""


class Table:
    """Columns of equal length that grow together; mutable.

    Args:
        types: Data type of each column.
        folder: Where the columns go when the table becomes large; the caller removes it.
        spill_bytes: Size from which they go there.
    """

    def __init__(
        self, types: Sequence[npt.DTypeLike], folder: Path, *, spill_bytes: int = SPILL_BYTES
    ) -> None:
        self._types = [np.dtype(kind) for kind in types]
        self._folder = folder
        self._spill_bytes = spill_bytes
        self._length = 0
        self._files: list[Path] = []
        self.columns: list[npt.NDArray[Any]] = [np.zeros(0, kind) for kind in self._types]

    def require(self, length: int) -> None:
        """Make every column at least this long; new entries are zero."""
        if length <= self._length:
            return
        self._length = max(length, self._length * 3 // 2)
        row_bytes = sum(kind.itemsize for kind in self._types)
        if self._length * row_bytes > self._spill_bytes:
            self._grow_on_disk()
        else:
            self.columns = [self._longer(column) for column in self.columns]

    def _longer(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        longer = np.zeros(self._length, column.dtype)
        longer[: len(column)] = column
        return longer

    def _grow_on_disk(self) -> None:
        if not self._files:
            self._files = [self._folder / f"column{i}.bin" for i in range(len(self._types))]
            for file, column in zip(self._files, self.columns, strict=True):
                column.tofile(file)
        # A file that is made longer keeps what it holds: nothing is copied.
        for file, kind in zip(self._files, self._types, strict=True):
            os.truncate(file, self._length * kind.itemsize)
        self.columns = [
            np.memmap(file, kind, "r+", shape=(self._length,))
            for file, kind in zip(self._files, self._types, strict=True)
        ]
