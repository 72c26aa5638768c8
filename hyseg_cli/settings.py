"""Frozen settings of each workflow: defaults, ranges and cross-checks; messages name the flag.

Options of the command line take their defaults from here, so there is one place for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.quantity import Quantity


def _check(condition: bool, message: str, hint: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise UsageProblemError(message, hint=hint)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """`hyseg train`."""

    out: Path
    images: Path | None = None
    labels: Path | None = None
    """Label rasters, or one vector file."""
    benchmark: str | None = None
    """A published data set to train on instead of images and labels."""
    root: Path | None = None
    """Folder below which it was unpacked."""
    legend: Path | None = None
    """The classes; None for those that the labels have."""
    class_field: str = "class"
    """Column of a vector file that holds the class."""
    preset: str = "default"
    start: str | None = None
    """Model to go on from, a path or `default` for the built-in one; it decides the network."""
    freeze: Literal["none", "backbone"] = "none"
    """Part of the network that keeps its weights in stage 2."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty for all bands but alpha."""
    band_names: tuple[str, ...] = ()
    """Names for the card; empty for red, green, blue, or band1, band2, ..."""
    val_scenes: tuple[str, ...] = ()
    """Scenes kept out of the training and measured."""
    val_split: float = 0.0
    """Share of the pixels to keep out: whole scenes if there are several, else a slice."""
    val_images: Path | None = None
    """Other images to measure on."""
    val_labels: Path | None = None
    """Their labels."""
    prior: Path | None = None
    """Model whose prior is taken over; stage 1 is then left out."""
    prior_steps: int | None = None
    """Steps of stage 1; None for 20,000, or 500 when going on from a model."""
    steps: int | None = None
    """Steps of stage 2; None for 20,000, or 1,500 when going on from a model."""
    batch_size: int = 8
    chip_size: int = 256
    prior_rate: float = 5e-4
    rate: float = 6e-4
    min_scale: float = 0.5
    max_scale: float = 2.0
    pretrained: bool = False
    val_every: int = 500
    """Steps between validations."""
    workers: int = 0
    """Processes that prepare chips; 0 prepares them in the main one."""
    device: str = "auto"
    seed: int = 0
    data_name: str = ""
    licence: str = ""
    attribution: str = ""
    save_every: int | None = None
    """Steps between checkpoints; None for `val_every`."""
    resume: bool = False
    """Go on where a run with these settings was stopped."""
    dry_run: bool = False
    """Tell what would be trained, and stop."""
    overwrite: bool = False

    @property
    def stage_steps(self) -> tuple[int, int]:
        """Steps of both stages."""
        usual = (20_000, 20_000) if self.start is None else (500, 1_500)
        first = usual[0] if self.prior_steps is None else self.prior_steps
        return first, usual[1] if self.steps is None else self.steps

    def __post_init__(self) -> None:
        size = self.chip_size
        _check(
            size >= 64 and size % 32 == 0,
            f"--chip-size {size} is not a multiple of 32 of at least 64",
            f"Use --chip-size {max(2, round(size / 32)) * 32}.",
        )
        for flag, value in (
            ("--steps", self.stage_steps[1]),
            ("--batch-size", self.batch_size),
            ("--val-every", self.val_every),
            ("--save-every", self.val_every if self.save_every is None else self.save_every),
        ):
            _check(value >= 1, f"{flag} {value} is less than 1", f"Use {flag} 1 or more.")
        _check(self.stage_steps[0] >= 0, "--prior-steps is negative", "Use 0 or more.")
        _check(
            0 <= self.val_split <= 0.5,
            f"--val-split {self.val_split} is not between 0 and 0.5",
            "Give the share to hold out, such as 0.2.",
        )
        held_out = (bool(self.val_scenes), self.val_split > 0, self.val_images is not None)
        _check(
            sum(held_out) <= 1,
            "--val-scenes, --val-split and --val-images exclude each other",
            "Use one of them.",
        )
        own = self.images is not None and self.labels is not None
        _check(
            own != (self.benchmark is not None and self.root is not None),
            "training needs either --images and --labels, or --benchmark and --root",
            "Give one of these pairs.",
        )
        _check(
            self.benchmark is None or not any((*held_out, self.legend)),
            f"the benchmark {self.benchmark} has a split and a legend of its own",
            "Leave out --legend and the options that hold scenes out.",
        )
        _check(
            (self.val_images is None) == (self.val_labels is None),
            "--val-images and --val-labels belong together",
            "Give both or neither.",
        )
        _check(
            self.start is None or self.prior is None,
            "--from takes over a whole model, its prior too",
            "Leave out --prior.",
        )
        _check(
            0 < self.min_scale <= 1 <= self.max_scale,
            f"--min-scale {self.min_scale} and --max-scale {self.max_scale} do not enclose 1",
            "Use a smallest magnification of at most 1 and a largest of at least 1.",
        )
        _check(
            self.out.suffix == ".safetensors",
            f"--out {self.out} does not end in .safetensors",
            "Models are safetensors files: give --out a name such as my-model.safetensors.",
        )


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
        _check(
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
                _check_suffix(out, (".tif", ".tiff"), hint, flag)

    @property
    def overlap_px(self) -> int:
        """Overlap in pixels: as asked for, or a quarter of the tile in whole multiples of 32."""
        return self.tile_size // 4 // 32 * 32 if self.overlap is None else self.overlap


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """`hyseg evaluate`."""

    map: Path
    reference: Path
    legend: Path | None = None
    """Legend of both rasters; None for the one stored in the map."""


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
    """Tolerance, such as 1.5px or 2m: triangles of at most its square go."""
    mmu: tuple[str, ...] = ()
    """Minimum mapping units, such as 100m2, 0.5ha, 25px, or building=20m2 for one class."""
    mmu_into: Literal["longest-border", "largest"] = "longest-border"
    """Which neighbour takes a small region up."""
    keep: tuple[str, ...] = ()
    """Classes whose regions are never merged into others."""
    fill_nodata: bool = False
    """Let neighbours take up areas without class that are below the unit, too."""
    sieve_out: Path | None = None
    """Where to write the raster after merging."""
    classes: tuple[str, ...] = ()
    """Classes to write; empty for all."""
    dissolve: bool = False
    """Write one multipolygon for each class."""
    connectivity: Literal[4, 8] = 4
    """8 joins regions of one class that touch at corners to multipolygons."""
    split_tiles: int = 0
    """Cut regions of more pixels than a tile of this side at tile lines; 0 cuts none."""
    confidence: Path | None = None
    """Raster of how sure the map is of each pixel."""
    dst_crs: str | None = None
    """CRS to write in; None for the raster's."""
    split_files: bool = False
    """Write as many Shapefiles as their limit of 2 GB asks for."""
    check: bool = True
    """Prove that the polygons form a coverage before the output gets its name."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        Quantity.parse(self.simplify, ("px", "m"), "--simplify")
        for text in self.mmu:
            Quantity.parse(text.rpartition("=")[2], ("px", "m2", "ha"), "--mmu")
        units = {
            Quantity.parse(t.rpartition("=")[2], ("px", "m2", "ha"), "--mmu").unit for t in self.mmu
        }
        _check(
            units <= {"px"} or units <= {"m2", "ha"},
            "--mmu mixes pixels and areas",
            "Give all of them in px, or all in m2 and ha.",
        )
        _check(
            not self.fill_nodata or any("=" not in text for text in self.mmu),
            "--fill-nodata needs a minimum mapping unit",
            "Say up to which size: for example --mmu 100m2.",
        )
        joined = self.dissolve or self.connectivity == 8
        _check(
            self.split_tiles == 0 or self.split_tiles >= 16,
            f"--split-tiles {self.split_tiles} is less than 16",
            "Give the side of a tile in pixels, such as 1024.",
        )
        _check(
            not (self.split_tiles and joined),
            "--split-tiles cuts what --dissolve and --connectivity 8 join",
            "Leave one of them out.",
        )
        _check(
            not self.split_files or self.out.suffix.lower() == ".shp",
            "--split-files is for Shapefiles",
            "Other formats have no such limit: leave it out.",
        )
        _check_suffix(
            self.out,
            (".gpkg", ".fgb", ".parquet", ".geojson", ".geojsonl", ".shp"),
            "The suffix chooses the format: .gpkg, .fgb, .parquet, .geojson, .geojsonl or .shp.",
        )
        if self.sieve_out is not None:
            _check_suffix(
                self.sieve_out, (".tif", ".tiff"), "The sieved raster is a GeoTIFF.", "--sieve-out"
            )
        _check(
            self.out.suffix.lower() != ".shp" or self.out.suffix == ".shp",
            f"--out {self.out} does not end in .shp",
            "The files of a Shapefile end in lower case: write .shp.",
        )
        _check(
            self.dst_crs is None or not self.out.suffix.lower().startswith(".geojson"),
            "GeoJSON is always in longitude and latitude",
            "Leave out --dst-crs, or choose another format.",
        )


def _check_suffix(path: Path, suffixes: tuple[str, ...], hint: str, flag: str = "--out") -> None:
    _check(
        path.suffix.lower() in suffixes,
        f"{flag} {path} does not end in {' or '.join(suffixes)}",
        hint,
    )
