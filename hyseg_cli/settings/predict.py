"""Settings of `hyseg predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.check import check, check_suffix
from hyseg_cli.settings.tiles import overlap_of


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """`hyseg predict`."""

    scene: str
    out: Path
    model: Path | None = None
    """Model file; None for the built-in model."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty to find the model's bands by name."""
    tile_size: int = 512
    overlap: int | None = None
    """Pixels shared by neighbouring tiles; None for a quarter of the tile."""
    batch_size: int = 4
    device: str = "auto"
    seed: int = 0
    """Seed of the prior's noise field."""
    confidence: Path | None = None
    """Where to write the largest probability of each pixel."""
    probabilities: Path | None = None
    """Where to write the probabilities of all classes, a band for each."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(
            self.batch_size >= 1,
            f"--batch-size {self.batch_size} is less than 1",
            "Use --batch-size 1 or more.",
        )
        outputs = {
            "--out": self.out,
            "--confidence": self.confidence,
            "--probabilities": self.probabilities,
        }
        for flag, out in outputs.items():
            if out is not None:
                hint = "Maps are GeoTIFFs: end the name in .tif."
                check_suffix(out, (".tif", ".tiff"), hint, flag)

    @property
    def overlap_px(self) -> int:
        """Overlap in pixels: as asked for, or a quarter of the tile in whole multiples of 32."""
        return overlap_of(self.tile_size, self.overlap)
