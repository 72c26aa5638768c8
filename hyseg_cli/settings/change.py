"""Settings of `hyseg change`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.checks import check, check_suffix


@dataclass(frozen=True, kw_only=True)
class ChangeSettings:
    """`hyseg change`."""

    old: Path
    """The map whose grid counts."""
    new: Path
    out: Path | None = None
    """Where to write the map of changes; None for the table alone."""
    legend: Path | None = None
    """Names of the classes of both maps; None for what the maps say."""
    map_classes: Path | None = None
    """JSON file of classes to rename, and so to merge; null leaves one out."""
    csv: Path | None = None
    """Where to write the table."""
    style: bool = False
    """Write styles beside the map of changes, .qml and .sld."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(
            self.out is not None or not self.style,
            "`style` is the style of the map of changes, which is not asked for",
            "Add `out` change.tif.",
        )
        if self.out is not None:
            check_suffix(self.out, (".tif", ".tiff"), "The map of changes is a GeoTIFF.")
