"""Tiles that a model sees, for all workflows that run one over scenes."""

from __future__ import annotations


def overlap_of(tile_size: int, asked: int | None) -> int:
    """Overlap in pixels: as asked for, or a quarter of the tile in whole multiples of 32."""
    return tile_size // 4 // 32 * 32 if asked is None else asked
