"""Features of a scene where somebody drew, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.grid import Span, TileGrid
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.few.polygons import Ints
from hyseg_cli.learn.inference.kept_tokens import KeptTokens
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import TOKEN_OVERLAP
from hyseg_models import HySeg
from hyseg_models.blocks.layers import size_of
from hyseg_models.tokens.detail import PixelBank
from hyseg_models.tokens.scaled import ScaledTokens

TILE = 576
"""Largest side of a tile in pixels: a few windows of the transformer."""


@dataclass(frozen=True)
class Block:
    """Features of one tile of a scene."""

    window: Window
    """Its place; it may reach beyond the scene, where pixels are reflected."""
    tokens: tuple[Tensor, ...]
    """One float16 map (C, window height / s, window width / s) for each size s of a token."""
    bank: Tensor
    """float32 (window height, window width, C'): looks of the pixels, see `PixelBank`."""
    valid: Tensor
    """bool (window height, window width)."""
    own: Tensor
    """bool likewise: valid pixels of the scene that lie in no other tile's middle."""

    def holds_data(self, rows: Ints, cols: Ints) -> npt.NDArray[np.bool_]:
        """Which of some pixels of the scene, (n,), are valid."""
        found: npt.NDArray[np.bool_] = self.valid.numpy()[
            rows - self.window.row, cols - self.window.col
        ]
        return found


class Features:
    """What the frozen backbone of a network makes of a scene.

    Tiles are those that the scene is mapped in, so that mapping finds what was computed here.

    Args:
        reader: The scene; its bands are those of the network.
        network: Gives the backbone.
        standardise: How pixel values become its input.
        precision: Format in which the backbone runs.
        device: Where it runs.
    """

    def __init__(
        self,
        reader: SceneReader,
        network: HySeg,
        standardise: Standardise,
        *,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._reader = reader
        self._network = network
        self._standardise = standardise
        self._is_half = precision == "bfloat16"
        self._device = device
        self._bank = PixelBank(network.config.probe)
        self._grid = tiles_of(reader)
        self.sizes: tuple[int, ...] = tuple(network.backbone.strides)

    def places_of(self, rows: Ints, cols: Ints) -> Ints:
        """Row and column (n, 2) of the tiles in whose middles some pixels lie."""
        return np.stack([tile_of(self._grid.rows, rows), tile_of(self._grid.cols, cols)], axis=1)

    def block(self, place: tuple[int, int]) -> Block:
        """The tile in some row and column of tiles.

        Raises:
            UnusableFileError: If the scene cannot be read.
        """
        window = window_of(self._grid, place)
        standard, valid = self._read(window)
        with torch.inference_mode():
            bank = self._bank(standard)[0].movedim(0, -1).cpu()
            with self._format():
                maps = self._network.backbone(standard)
        tokens = tuple(level[0].cpu() for level in maps)
        own = torch.from_numpy(own_pixels(self._grid, place))
        return Block(window, tokens, bank, valid, own & valid)

    def is_kept(self, place: tuple[int, int]) -> bool:
        """Whether the backbone need not run for a tile."""
        tokens = self._network.backbone
        if not isinstance(tokens, ScaledTokens) or not isinstance(tokens.recall, KeptTokens):
            return False
        standard, _ = self._read(window_of(self._grid, place))
        with self._format():
            return tokens.recall.has(tokens.pixels_of(standard))

    def _format(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half)

    def _read(self, window: Window) -> tuple[Tensor, Tensor]:
        """Standardised pixels (1, bands, H, W), and which hold data (H, W)."""
        pixels = self._reader.read(window)
        valid = torch.from_numpy(pixels.valid)
        image = torch.from_numpy(pixels.image.astype(np.float32))[None]
        whole = valid[None, None].to(self._device)
        return self._standardise(image.to(self._device), whole), valid


def tiles_of(reader: SceneReader) -> TileGrid:
    """The tiles that a scene is mapped in by a model that was trained on a few polygons."""
    scene = reader.scene
    return TileGrid.cover(
        scene.height, scene.width, tile=TILE, overlap=TOKEN_OVERLAP, phase=scene.noise_origin
    )


def tile_of(span: Span, at: Ints) -> Ints:
    """The tile along an axis in whose middle a pixel lies: neighbours share what they overlap."""
    found: Ints = (at - span.first - span.overlap // 2) // span.step
    return found.clip(0, len(span.starts) - 1)


def window_of(grid: TileGrid, place: tuple[int, int]) -> Window:
    """The pixels of a tile."""
    row, col = place
    return Window(grid.rows.starts[row], grid.cols.starts[col], grid.rows.length, grid.cols.length)


def own_pixels(grid: TileGrid, place: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels of a tile lie in the scene and in no other tile's middle, (H, W)."""
    rows, cols = (
        _own(span, index) for span, index in zip((grid.rows, grid.cols), place, strict=True)
    )
    own: npt.NDArray[np.bool_] = rows[:, None] & cols
    return own


def _own(span: Span, index: int) -> npt.NDArray[np.bool_]:
    at = span.starts[index] + np.arange(span.length)
    own: npt.NDArray[np.bool_] = (tile_of(span, at) == index) & (at >= 0) & (at < span.size)
    return own


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
    """Rows and columns of the scene of a tile's own pixels, `step` apart each way."""
    spread = np.zeros(block.valid.shape, bool)
    spread[step // 2 :: step, step // 2 :: step] = True
    rows, cols = np.nonzero(spread & block.own.numpy())
    return rows + block.window.row, cols + block.window.col


@dataclass(frozen=True)
class Moments:
    """Sums of features over some tiles, for their mean and standard deviation."""

    count: int
    total: Tensor
    """float64 (C,): of the tokens, finest first, then of the looks of pixels."""
    squares: Tensor
    """(C,) of their squares."""

    @classmethod
    def of(cls, block: Block) -> Moments:
        """Those of a tile, all features alike whatever their grid."""
        coarse = size_of(block.tokens[-1])
        maps = [level[None].float() for level in block.tokens]
        maps.append(block.bank.movedim(-1, 0)[None])
        values = torch.cat([F.adaptive_avg_pool2d(level, coarse)[0] for level in maps])
        squares = torch.cat([F.adaptive_avg_pool2d(level.square(), coarse)[0] for level in maps])
        count = values[0].numel()
        return cls(count, values.flatten(1).double().sum(1), squares.flatten(1).double().sum(1))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and scale, 1 / deviation: float32 (C,) each."""
        mean = self.total / self.count
        deviation = (self.squares / self.count - mean.square()).clamp_min(1e-8).sqrt()
        return mean.float(), (1.0 / deviation).float()
