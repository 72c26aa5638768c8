"""Settings of `hyseg suggest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.checks import check, check_suffix


@dataclass(frozen=True, kw_only=True)
class SuggestSettings:
    """`hyseg suggest`."""

    scene: Path
    out: Path
    model: Path | None = None
    """Model file; None for the built-in model."""
    count: int = 10
    """Places to suggest."""
    labels: Path | None = None
    """Polygons that are drawn already: they are copied to the output and not suggested again."""
    class_field: str = "class"
    """Column for the class, in both files."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty to find the model's bands by name."""
    blocks: int = 36
    """Most tiles of 576 x 576 pixels that are looked at, spread at random over the scene."""
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self.count >= 1, f"`count` {self.count} is less than 1", "Use -n 1 or more.")
        check(self.blocks >= 1, f"`blocks` {self.blocks} is less than 1", "Use 1 or more.")
        check_suffix(self.out, (".gpkg",), "Suggestions are written with a style: use .gpkg.")
