"""Settings of `hyseg export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.checks import check, check_suffix
from hyseg_cli.settings.choices import ExportFormat


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """`hyseg export`."""

    model: Path | None
    """A file or a name; None for the built-in model."""
    scene: Path
    """A scene that the model fits: tiles of it are what the file is checked on."""
    out: Path
    format: ExportFormat = "onnx"
    tile_size: int = 512
    """Side in pixels of the tiles that the file takes."""
    bands: tuple[int, ...] = ()
    """Indexes from 1 of the scene's bands; empty to find them by name."""
    tiles: int = 4
    """Tiles of the scene to check on."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(
            self.tile_size >= 64 and self.tile_size % 32 == 0,
            f"`tile_size` {self.tile_size} is not a multiple of 32 of at least 64",
            f"Use `tile_size` {max(2, round(self.tile_size / 32)) * 32}.",
        )
        check(
            self.tiles >= 1, f"`tiles` {self.tiles} is less than 1", "Check on one tile at least."
        )
        check_suffix(
            self.out, (f".{self.format}",), f"The suffix of this format is .{self.format}."
        )
