"""Settings of `hyseg predict`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.settings.checks import Quantity, check, check_gsd, check_suffix, gsd_of
from hyseg_cli.settings.choices import (
    Collar,
    Noise,
    OnError,
    Precision,
    Resampling,
    TestTimeAugmentation,
)

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """`hyseg predict`."""

    inputs: tuple[str, ...]
    """Scenes, folders of scenes, or `@` and a text file that lists them."""
    out: Path
    """A file for one scene, a folder for several."""
    model: Path | None = None
    """Model file; None for the built-in model."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty to find the model's bands by name."""
    bounds: Bounds | None = None
    """Left, bottom, right and top of what is mapped, in the scene's CRS; None for all of it."""
    aoi: Path | None = None
    """Polygons outside which nothing is mapped."""
    context: bool = False
    """Let the network see across the edges of a scene into its neighbours on the same grid."""
    src_nodata: tuple[float, ...] = ()
    """Nodata values, one or one for each band; empty for what the scene declares."""
    collar: Collar = "auto"
    """Whether undeclared black or white borders are left empty."""
    gsd: str = "auto"
    """Ground size of the pixels that the network sees: auto, native, or metres such as 0.5m."""
    tile_size: int | None = None
    """Side of a tile in pixels of the network; None for what suits the model."""
    overlap: int | None = None
    """Pixels shared by neighbouring tiles; None for a quarter of the tile, at most 128."""
    batch_size: int = 4
    device: str = "auto"
    precision: Precision = "auto"
    """Floating-point format of the network; `auto` is the faster one on this machine."""
    compiled: bool = False
    """Compile the network before it runs."""
    devices: int = 1
    """Processes that share a scene: one for each GPU, or on the CPU."""
    cluster: str | None = None
    """Ray cluster whose workers share all scenes: `ray`, or `ray://HOST:PORT`."""
    workers: int | None = None
    """Workers of the cluster; None for as many as it has room for."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker of the cluster, or a part of one; 0 for the CPU."""
    max_memory: str = "4GB"
    """Memory of a process that decides how wide a scene is mapped at once."""
    seed: int = 0
    """Seed of the prior's noise field."""
    noise: Noise | None = None
    """Where the prior starts from; None for what the model was measured with."""
    tta: TestTimeAugmentation = "none"
    """Test-time augmentation: views of each tile, whose probabilities are averaged."""
    confidence: Path | None = None
    """Where to write the largest probability of each pixel."""
    probabilities: Path | None = None
    """Where to write the probabilities of all classes, a band for each."""
    manifest: Path | None = None
    """Where to write a line of JSON for each scene as soon as it ends."""
    staging: Path | None = None
    """Local folder for outputs that go to object storage; None for the user's cache."""
    mosaic: Path | None = None
    """Where to join the maps of several scenes: a VRT over them, or a GeoTIFF of its own."""
    mosaic_crs: str | None = None
    """CRS of the GeoTIFF; None for that of the first scene."""
    mosaic_resolution: float | None = None
    """Side of its pixels in units of its CRS; None for the finest of the scenes."""
    mosaic_resampling: Resampling = "nearest"
    """How its pixels get their class."""
    style: bool = False
    """Write styles beside the map, OUT.qml and OUT.sld."""
    stac: bool = False
    """Write a STAC Item beside the map, OUT.tif.stac.json."""
    preview: Path | None = None
    """Where to draw the scene beside its map."""
    report: Path | None = None
    """Where to write a page with the map over the scene, areas and provenance."""
    resume: bool = True
    """Continue an unfinished run with the same settings."""
    shard: tuple[int, int] | None = None
    """Compute only part I of N, counted from 1, and do not finish the map."""
    merge: bool = False
    """Finish a map whose parts are all computed."""
    skip_existing: bool = False
    """Skip scenes whose map exists."""
    on_error: OnError = "skip"
    """What to do with the other scenes when one fails."""
    dry_run: bool = False
    """Print what would be done, and stop."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        Quantity.parse(self.max_memory, ("MB", "GB"), "`max_memory`")
        for flag, value in (("`batch_size`", self.batch_size), ("`devices`", self.devices)):
            check(value >= 1, f"{flag} {value} is less than 1", f"Use {flag} 1 or more.")
        if self.bounds is not None:
            left, bottom, right, top = self.bounds
            check(
                all(math.isfinite(value) for value in self.bounds),
                "`bounds` are not four finite numbers",
                "Leave `bounds` out to map all of the scene.",
            )
            check(
                left < right and bottom < top,
                "`bounds` are not in the order left, bottom, right, top",
                "Give the smaller x and y first: `bounds` LEFT,BOTTOM,RIGHT,TOP.",
            )
        if self.shard is not None:
            part, parts = self.shard
            check(
                1 <= part <= parts,
                f"`shard` {part}/{parts} is not a valid part",
                f"Parts are numbered 1 to {parts}.",
            )
        one_way = (self.shard is not None, self.merge, self.is_shared)
        check(
            sum(one_way) <= 1,
            "`shard` and `merge` exclude each other, `devices` and `cluster`",
            "Compute the parts with `shard`, then run once more with `merge`.",
        )
        self._check_cluster()
        self._check_mosaic()
        check(
            self.resume or not (self.merge or self.shard is not None),
            "`resume=False` would delete what other parts computed",
            "Leave it out, or remove the work folder beside the output first.",
        )
        check(
            not (self.skip_existing and self.overwrite),
            "`skip_existing` and `overwrite` exclude each other",
            "Use one of them.",
        )
        check_gsd(self.gsd)

    def _check_cluster(self) -> None:
        named = self.cluster or "ray"
        check(
            named == "ray" or re.fullmatch(r"ray://[^\s/:]+:\d+", named) is not None,
            f"`cluster` {named} is not a valid cluster",
            "Use ray for the cluster that this machine is part of, or ray://HOST:PORT.",
        )
        check(
            self.cluster is None or (self.devices == 1 and self.device == "auto"),
            "`cluster`, `device` and `devices` exclude each other",
            "A cluster has `workers`, with `gpus_per_worker` each.",
        )
        check(
            self.cluster is not None or (self.workers is None and self.gpus_per_worker == 0),
            "`workers` and `gpus_per_worker` need `cluster`",
            "On this machine use `devices`.",
        )
        check(
            self.workers is None or self.workers >= 1,
            f"`workers` {self.workers} is less than 1",
            "Use `workers` 1 or more.",
        )
        check(
            math.isfinite(self.gpus_per_worker) and self.gpus_per_worker >= 0,
            f"`gpus_per_worker` {self.gpus_per_worker} is not a valid number of GPUs",
            "Use 1, a part such as 0.5 for models that share a GPU, or 0 for the CPU.",
        )

    def _check_mosaic(self) -> None:
        grid = (self.mosaic_crs, self.mosaic_resolution)
        if self.mosaic is None:
            check(
                grid == (None, None) and self.mosaic_resampling == "nearest",
                "`mosaic_crs`, `mosaic_resolution` and `mosaic_resampling` need `mosaic`",
                "Add `mosaic` FILE.tif.",
            )
            return
        check_suffix(self.mosaic, (".vrt", ".tif", ".tiff"), "End it in .vrt or .tif.", "`mosaic`")
        check(
            self.mosaic.suffix.lower() != ".vrt"
            or (grid == (None, None) and self.mosaic_resampling == "nearest"),
            "a VRT keeps the grid of the maps",
            "Give `mosaic` the name of a .tif to choose its CRS, resolution and resampling.",
        )
        check(
            self.shard is None,
            "`shard` makes no maps that `mosaic` could join",
            "Give `mosaic` to the run with `merge`.",
        )
        resolution = self.mosaic_resolution
        check(
            resolution is None or (math.isfinite(resolution) and resolution > 0),
            f"`mosaic_resolution` {resolution} is not a valid size",
            "Use a number above 0, in units of the CRS.",
        )

    @property
    def is_shared(self) -> bool:
        """Whether several processes share the scenes."""
        return self.devices > 1 or self.cluster is not None

    @property
    def gsd_m(self) -> float | Literal["auto", "native"]:
        """`gsd` with metres as a number."""
        return gsd_of(self.gsd)

    @property
    def max_memory_bytes(self) -> int:
        """Memory of a process in bytes."""
        amount = Quantity.parse(self.max_memory, ("MB", "GB"), "`max_memory`")
        return int(amount.value * {"MB": 10**6, "GB": 10**9}[amount.unit])
