"""Features of a scene where somebody drew, block by block, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.few.polygons import Ints
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_models import HySeg
from hyseg_models.blocks.layers import size_of
from hyseg_models.tokens.detail import PixelBank

BLOCK = 512
"""Side of a block in pixels."""
MARGIN = 32
"""Pixels around a block that the network sees as well, a multiple of the coarsest token."""
CACHE_BYTES = 4 * 2**30
"""Largest size of the folder of kept features; the oldest go first."""


@dataclass(frozen=True)
class Block:
    """Features of one block of a scene."""

    window: Window
    """What the network saw, margins included."""
    tokens: tuple[Tensor, ...]
    """One float16 map (C, window height / s, window width / s) for each size s of a token."""
    bank: Tensor
    """float32 (window height, window width, C'): looks of the pixels, see `PixelBank`."""
    valid: Tensor
    """bool (window height, window width)."""


class Features:
    """What the frozen backbone of a network makes of a scene.

    Args:
        reader: The scene; its bands are those of the network.
        network: Gives the backbone.
        standardise: How pixel values become its input.
        key: Whatever the features depend on beside the block: scene, bands, weights.
        folder: Where features are kept; None to keep none.
        device: Where the backbone runs.
    """

    def __init__(
        self,
        reader: SceneReader,
        network: HySeg,
        standardise: Standardise,
        *,
        key: Sequence[str],
        folder: Path | None,
        device: torch.device,
    ) -> None:
        self._reader = reader
        self._network = network
        self._standardise = standardise
        self._key = "\n".join(key)
        self._folder = folder
        self._device = device
        self._bank = PixelBank(network.config.probe)
        self.sizes: tuple[int, ...] = tuple(network.backbone.strides)

    def block(self, place: tuple[int, int]) -> Block:
        """The block in some row and column of blocks: from disk, or computed and kept.

        Raises:
            UnusableFileError: If the scene cannot be read.
        """
        window = self._window(place)
        pixels = self._reader.read(window)
        valid = torch.from_numpy(pixels.valid)
        with torch.inference_mode():
            image = torch.from_numpy(pixels.image.astype(np.float32))[None]
            standard = self._standardise(image.to(self._device), valid[None, None].to(self._device))
            bank = self._bank(standard)[0].movedim(0, -1).cpu()
        path = self._path(place)
        found = None if path is None else _read(path)
        if found is None:
            found = self._compute(standard)
            if path is not None:
                _keep(path, found)
        tokens = tuple(found[f"tokens.{index}"] for index in range(len(self.sizes)))
        return Block(window, tokens, bank, valid)

    def is_kept(self, place: tuple[int, int]) -> bool:
        """Whether a block need not be computed."""
        path = self._path(place)
        return path is not None and path.is_file()

    def _window(self, place: tuple[int, int]) -> Window:
        scene, (row, col) = self._reader.scene, place
        height, width = (
            min(BLOCK, -(-(side - at * BLOCK) // MARGIN) * MARGIN) + 2 * MARGIN
            for side, at in ((scene.height, row), (scene.width, col))
        )
        return Window(row * BLOCK - MARGIN, col * BLOCK - MARGIN, height, width)

    def _path(self, place: tuple[int, int]) -> Path | None:
        if self._folder is None:
            return None
        text = f"{self._key}\n{BLOCK} {MARGIN} {place[0]} {place[1]}"
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"

    def _compute(self, standard: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            maps = self._network.backbone(standard)
        return {f"tokens.{i}": level[0].half().cpu() for i, level in enumerate(maps)}


def blocks_of(rows: Ints, cols: Ints) -> list[tuple[int, int]]:
    """The blocks that some pixels lie in, in order."""
    return sorted(set(zip((rows // BLOCK).tolist(), (cols // BLOCK).tolist(), strict=True)))


def sample_block(block: Block, sizes: Sequence[int], rows: Ints, cols: Ints) -> Tensor:
    """Features of pixels of a scene: tokens, bilinear between their middles, and looks.

    The first are what `F.interpolate` gives at the pixel, so that a linear layer scores it as the
    network will.

    Args:
        block: The block that they lie in.
        sizes: Sides of its tokens in pixels.
        rows: (n,) of the scene.
        cols: (n,) of the scene.

    Returns:
        float32 (n, channels of all maps and of the bank).
    """
    y = torch.from_numpy(rows - block.window.row + 0.5).float()
    x = torch.from_numpy(cols - block.window.col + 0.5).float()
    height, width = block.valid.shape
    at = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)[None, None]
    parts = [
        F.grid_sample(
            level[None].float(), at, mode="bilinear", padding_mode="border", align_corners=False
        )[0, :, 0].T
        for level, _ in zip(block.tokens, sizes, strict=True)
    ]
    looks = block.bank[rows - block.window.row, cols - block.window.col]
    return torch.cat([*parts, looks], dim=1)


def spread_over(block: Block, step: int) -> tuple[Ints, Ints]:
    """Rows and columns of the scene of valid pixels of a block, `step` apart each way."""
    inner = np.zeros(block.valid.shape, bool)
    inner[MARGIN + step // 2 : -MARGIN : step, MARGIN + step // 2 : -MARGIN : step] = True
    rows, cols = np.nonzero(inner & block.valid.numpy())
    return rows + block.window.row, cols + block.window.col


class Moments:
    """Mean and standard deviation of features over all blocks that were seen; mutable."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, block: Block) -> None:
        """Count the features of a block, all alike whatever their grid."""
        coarse = size_of(block.tokens[-1])
        maps = [F.adaptive_avg_pool2d(level[None].float(), coarse)[0] for level in block.tokens]
        spread = [
            F.adaptive_avg_pool2d(level[None].float().square(), coarse)[0] for level in block.tokens
        ]
        looks = block.bank.movedim(-1, 0)[None]
        maps.append(F.adaptive_avg_pool2d(looks, coarse)[0])
        spread.append(F.adaptive_avg_pool2d(looks.square(), coarse)[0])
        flat = torch.cat(maps).flatten(1).double()
        squares = torch.cat(spread).flatten(1).double()
        self._count += flat.shape[1]
        self._sum = flat.sum(1) if self._sum is None else self._sum + flat.sum(1)
        total = squares.sum(1)
        self._squares = total if self._squares is None else self._squares + total

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and scale, 1 / deviation: float32 (C,) each."""
        if self._sum is None or self._squares is None:
            message = "no tokens were seen"
            raise ValueError(message)
        mean = self._sum / self._count
        deviation = (self._squares / self._count - mean.square()).clamp_min(1e-8).sqrt()
        return mean.float(), (1.0 / deviation).float()


def feature_folder() -> Path:
    """Where features are kept: `hyseg/features` in the user's cache (`XDG_CACHE_HOME`)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hyseg" / "features"


def make_room(folder: Path, limit: int = CACHE_BYTES) -> None:
    """Remove the features that were not used for longest until the others fit."""
    entries = sorted(_entries(folder), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > limit:
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterable[tuple[float, int, Path]]:
    for path in folder.glob("*.safetensors"):
        try:
            status = path.stat()
        except OSError:
            continue  # another run has just removed it
        yield status.st_mtime, status.st_size, path


def _read(path: Path) -> dict[str, Tensor] | None:
    """Kept features; None if there are none or they are damaged."""
    try:
        found = load_file(path)
        os.utime(path)
    except (OSError, SafetensorError, ValueError):
        return None
    return found


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write features by a temporary name; a full disk costs the next run time and no more."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        temporary.replace(path)
    except (OSError, SafetensorError):
        temporary.unlink(missing_ok=True)
