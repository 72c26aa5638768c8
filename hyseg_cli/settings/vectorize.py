"""Settings of `hyseg vectorize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.settings.checks import Quantity, check, check_suffix
from hyseg_cli.settings.choices import VECTOR_HINT, VECTOR_SUFFIXES, Connectivity, MergedInto


@dataclass(frozen=True, kw_only=True)
class VectorizeSettings:
    """`hyseg vectorize`."""

    map: Path
    out: Path
    layer: str = "landcover"
    legend: Path | None = None
    """Names and colours of the classes; None for what the raster says."""
    smooth: bool = False
    """Run borders through the middles of pixel edges."""
    simplify: str = "0"
    """Tolerance, such as 1.5px or 2m: points with triangles of at most its square are removed."""
    mmu: tuple[str, ...] = ()
    """Minimum mapping units, such as 100m2, 0.5ha, 25px, or building=20m2 for one class."""
    mmu_into: MergedInto = "longest-border"
    """Which neighbour absorbs a small region."""
    keep: tuple[str, ...] = ()
    """Classes whose regions are never merged into others."""
    fill_nodata: bool = False
    """Let neighbours absorb areas without class that are below the minimum, too."""
    sieve_out: Path | None = None
    """Where to write the raster after merging."""
    classes: tuple[str, ...] = ()
    """Classes to write; empty for all."""
    dissolve: bool = False
    """Write one multipolygon for each class."""
    connectivity: Connectivity = 4
    """8 joins regions of one class that touch at corners into multipolygons."""
    split_tiles: int = 0
    """Cut regions of more pixels than a tile of this side at tile lines; 0 cuts none."""
    confidence: Path | None = None
    """Confidence raster of the map."""
    dst_crs: str | None = None
    """CRS to write in; None for the raster's."""
    split_files: bool = False
    """Write as many Shapefiles as their limit of 2 GB requires."""
    stac: bool = False
    """Write a STAC Item beside the polygons, OUT.gpkg.stac.json."""
    check: bool = True
    """Check that the polygons form a coverage before the output gets its name."""
    overwrite: bool = False

    @property
    def tolerance(self) -> Quantity:
        """What `simplify` says, in px or m."""
        return Quantity.parse(self.simplify, ("px", "m"), "`simplify`")

    def __post_init__(self) -> None:
        _ = self.tolerance
        for text in self.mmu:
            Quantity.parse(text.rpartition("=")[2], ("px", "m2", "ha"), "`mmu`")
        units = {
            Quantity.parse(t.rpartition("=")[2], ("px", "m2", "ha"), "`mmu`").unit for t in self.mmu
        }
        check(
            units <= {"px"} or units <= {"m2", "ha"},
            "`mmu` mixes pixels and areas",
            "Give all of them in px, or all in m2 and ha.",
        )
        check(
            not self.fill_nodata or any("=" not in text for text in self.mmu),
            "`fill_nodata` needs a minimum mapping unit",
            "Say up to which size: for example `mmu` 100m2.",
        )
        joined = self.dissolve or self.connectivity == 8
        check(
            self.split_tiles == 0 or self.split_tiles >= 16,
            f"`split_tiles` {self.split_tiles} is less than 16",
            "Give the side of a tile in pixels, such as 1024.",
        )
        check(
            not (self.split_tiles and joined),
            "`split_tiles` cuts what `dissolve` and `connectivity` 8 join",
            "Leave one of them out.",
        )
        check(
            not self.split_files or self.out.suffix.lower() == ".shp",
            "`split_files` is for Shapefiles",
            "Other formats have no such limit: leave it out.",
        )
        check_suffix(
            self.out,
            VECTOR_SUFFIXES,
            VECTOR_HINT,
        )
        if self.sieve_out is not None:
            check_suffix(
                self.sieve_out, (".tif", ".tiff"), "The sieved raster is a GeoTIFF.", "`sieve_out`"
            )
        check(
            self.out.suffix.lower() != ".shp" or self.out.suffix == ".shp",
            f"`out` {self.out} does not end in .shp",
            "The files of a Shapefile end in lower case: write .shp.",
        )
        check(
            self.dst_crs is None or not self.out.suffix.lower().startswith(".geojson"),
            "GeoJSON is always in longitude and latitude",
            "Leave out `dst_crs`, or choose another format.",
        )
