"""Settings of `hyseg predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.quantity import Quantity
from hyseg_cli.settings.check import check, check_suffix


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """`hyseg predict`."""

    scene: str
    out: Path
    model: Path | None = None
    """Model file; None for the built-in model."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty to find the model's bands by name."""
    src_nodata: tuple[float, ...] = ()
    """Nodata values, one or one for each band; empty for what the scene declares."""
    collar: Literal["auto", "none"] = "auto"
    """Whether undeclared black or white borders are left empty."""
    gsd: str = "auto"
    """Ground size of the pixels that the network sees: auto, native, or metres such as 0.5m."""
    tile_size: int = 512
    """Side of a tile in pixels of the network."""
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
        check(
            self.gsd in ("auto", "native") or self.gsd_m != 0,
            f"--gsd {self.gsd} is no size",
            "Use auto, native or metres such as 0.5m.",
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
    def gsd_m(self) -> float | Literal["auto", "native"]:
        """`gsd` with metres as a number."""
        if self.gsd == "auto":
            return "auto"
        if self.gsd == "native":
            return "native"
        return Quantity.parse(self.gsd, ("m",), "--gsd").value

    @property
    def overlap_px(self) -> int:
        """Overlap in pixels: as asked for, or a quarter of the tile in whole multiples of 32."""
        return self.tile_size // 4 // 32 * 32 if self.overlap is None else self.overlap
