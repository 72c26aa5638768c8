"""Shards: finished parts of a mosaic, one small GeoTIFF each.

A GeoTIFF that is open when its process is killed reads back as zeros without an error. So a
shard gets its name only when it is closed, on the disk and read back: if it exists, it is done.
Reading back is needed because a disk that is full when a GeoTIFF is closed raises no error.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterWindow

from hyseg_cli.geo.file_names import absolute
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.tiling.blocks import Block

BLOCK = 512
"""Side of the blocks of shards."""
SUMMARY_TAG = "HYSEG_SUMMARY"


class ShardWriter:
    """Takes the rows of a block in order; mutable. Rows are packed and written in a thread."""

    def __init__(self, dataset: rasterio.io.DatasetWriter, thread: ThreadPoolExecutor) -> None:
        self._dataset = dataset
        self._thread = thread
        self._waiting: list[npt.NDArray[np.uint8]] = []
        self._next_row = 0
        self._writing: Future[None] | None = None
        self.written: list[tuple[RasterWindow, int]] = []
        """Windows that were written, and the CRC-32 of their values."""

    def append(self, rows: npt.NDArray[np.uint8]) -> None:
        """Add rows (bands, n, width)."""
        self._waiting.append(rows)
        count = sum(part.shape[1] for part in self._waiting)
        if count >= BLOCK:
            self._flush(count // BLOCK * BLOCK)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the remaining rows and the summary of the block.

        Raises:
            ValueError: If rows are missing.
        """
        self._flush(sum(part.shape[1] for part in self._waiting))
        self._wait()
        if self._next_row != self._dataset.height:
            message = f"{self._next_row} of {self._dataset.height} rows were written"
            raise ValueError(message)
        self._dataset.update_tags(**{SUMMARY_TAG: json.dumps(summary)})

    def _flush(self, count: int) -> None:
        if count == 0:
            return
        rows = np.concatenate(self._waiting, axis=1)
        self._waiting = [rows[:, count:]]
        place = RasterWindow(0, self._next_row, rows.shape[2], count)
        self._wait()
        self.written.append((place, crc32(np.ascontiguousarray(rows[:, :count]).data)))
        self._writing = self._thread.submit(self._dataset.write, rows[:, :count], window=place)
        self._next_row += count

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
        self._writing = None


@contextmanager
def writing_shard(work: WorkFolder, block: Block, bands: int) -> Iterator[ShardWriter]:
    """Write the shard of a block; if the body fails, there is none.

    Raises:
        HysegError: If the system refuses to write.
    """
    with work.writing(shard_path(work, block).name) as path:
        with (
            rasterio.open(
                absolute(path),
                "w",
                driver="GTiff",
                width=block.window.width,
                height=block.window.height,
                count=bands,
                dtype="uint8",
                interleave="band",
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                compress="zstd",
                zstd_level=1,
                bigtiff="if_safer",
                # The mosaic is georeferenced; any transform but the identity keeps rasterio quiet.
                transform=Affine.scale(2.0),
            ) as dataset,
            # Innermost: nothing may be closed while the thread writes to it.
            ThreadPoolExecutor(max_workers=1) as thread,
        ):
            writer = ShardWriter(dataset, thread)
            yield writer
        _read_back(path, writer)


def _read_back(path: Path, writer: ShardWriter) -> None:
    with rasterio.open(absolute(path)) as dataset:
        is_whole = SUMMARY_TAG in dataset.tags() and all(
            crc32(dataset.read(window=place).data) == expected for place, expected in writer.written
        )
    if not is_whole:
        raise OSError(errno.EIO, "the data read back differ from those written; is the disk full?")


def missing_blocks(work: WorkFolder, blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The blocks whose shards do not exist."""
    there = work.names()
    return tuple(block for block in blocks if shard_path(work, block).name not in there)


def shard_path(work: WorkFolder, block: Block) -> Path:
    """Where the shard of a block is, or will be once it is fetched."""
    return work.path / f"{block.name}{work.mark}.tif"


def read_summary(work: WorkFolder, block: Block) -> dict[str, Any]:
    """The summary of a finished block."""
    with rasterio.open(absolute(shard_path(work, block))) as shard:
        found: dict[str, Any] = json.loads(shard.tags()[SUMMARY_TAG])
    return found
