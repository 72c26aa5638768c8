"""Settings of `hyseg evaluate`, and of `hyseg evaluate --probabilities`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.checks import (
    Quantity,
    check,
    check_gsd,
    check_report,
    check_suffix,
    gsd_of,
)
from hyseg_cli.settings.choices import Benchmark, BenchmarkPart
from hyseg_cli.settings.source import SourceSettings

PIXEL_METRICS = ("iou", "f1", "precision", "recall")
FORM_METRICS = (
    "cldice", "b0_error", "b1_error", "boundary_iou", "boundary_f1",
    "pieces_per_mpx", "reference_pieces_per_mpx",
)  # fmt: skip
"""Scores of each class that `structure` adds; also of the whole map."""
OVERALL_METRICS = (
    "miou", "mf1", "overall_accuracy", "fwiou", "quantity_disagreement",
    "allocation_disagreement", "kappa", "seam_ratio", "overlap_disagreement",
)  # fmt: skip


@dataclass(frozen=True)
class Threshold:
    """The least value that a score must have."""

    metric: str
    class_name: str | None
    """None for the score of the whole map."""
    least: float

    @property
    def name(self) -> str:
        """As it is typed: `miou`, or `iou.road` for a class."""
        return self.metric if self.class_name is None else f"{self.metric}.{self.class_name}"

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read `METRIC=VALUE` or `METRIC.CLASS=VALUE`.

        Raises:
            UsageProblemError: If it is neither, or there is no such metric.
        """
        name, _, value = text.rpartition("=")
        metric, _, class_name = name.partition(".")
        known = (*PIXEL_METRICS, *FORM_METRICS) if class_name else (*OVERALL_METRICS, *FORM_METRICS)
        check(
            metric in known,
            f"`fail_under` {text}: there is no metric {name or text!r}",
            f"Write METRIC=VALUE with one of {', '.join((*OVERALL_METRICS, *FORM_METRICS))}, or "
            f"METRIC.CLASS=VALUE with one of {', '.join((*PIXEL_METRICS, *FORM_METRICS))}.",
        )
        try:
            return cls(metric, class_name or None, float(value))
        except ValueError as error:
            raise UsageProblemError(
                f"`fail_under` {text}: {value!r} is not a number",
                hint="Write for example miou=0.6.",
            ) from error


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """`hyseg evaluate`."""

    maps: tuple[Path, ...] = ()
    """One map, or two to compare; none to evaluate a model."""
    reference: Path | None = None
    """Raster of class ids or colours, or polygons with a class."""
    legend: Path | None = None
    """Legend of the maps; None for the one that each carries."""
    reference_legend: Path | None = None
    """Legend of the reference or the labels; None for what it names, or else the map's."""
    class_field: str = "class"
    """Column of polygons that holds the class."""
    map_classes: Path | None = None
    """JSON file of classes to merge or leave out."""
    exclude: tuple[str, ...] = ()
    """Classes that the means leave out."""
    structure: bool = False
    """Measure lines, pieces, holes and contours, too."""
    boundary: str = "3px"
    """Width of boundary bands and tolerance of contours."""
    patch_size: int = 512
    """Side in pixels of the patches for structure and bootstrap."""
    kappa: bool = False
    """Show kappa, too."""
    model: Path | None = None
    """Model to evaluate on labelled images; None for the built-in one."""
    images: Path | None = None
    labels: Path | None = None
    source: SourceSettings | None = None
    """Labelled images with a legend of their own, mapped onto the model's, to evaluate it on."""
    benchmark: Benchmark | None = None
    """A published data set to evaluate the model on instead, by its protocol."""
    root: Path | None = None
    """Folder below which it was unpacked."""
    split: BenchmarkPart = "val"
    """Part of the benchmark."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty to find the model's bands by name."""
    gsd: str = "auto"
    """Pixel size that the network sees: auto, native, or metres such as 0.5m."""
    tile_size: int | None = None
    """Side of a tile in pixels of the network; None for what suits the model."""
    overlap: int | None = None
    """Pixels shared by neighbouring tiles; None for a quarter of the tile, at most 128."""
    batch_size: int = 4
    device: str = "auto"
    seed: int = 0
    """Seed of the prior's noise field."""
    fail_under: tuple[str, ...] = ()
    """Scores that must be reached, such as miou=0.6 or iou.road=0.4."""
    csv: Path | None = None
    """Where to write all scores as a table."""
    report: Path | None = None
    """Where to write all scores, pictures and settings as a page."""
    overwrite: bool = False

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """What `fail_under` says."""
        return tuple(Threshold.parse(text) for text in self.fail_under)

    @property
    def gsd_m(self) -> float | Literal["auto", "native"]:
        """`gsd` with metres as a number."""
        return gsd_of(self.gsd)

    @property
    def boundary_width(self) -> Quantity:
        """What `boundary` says, in px or m."""
        return Quantity.parse(self.boundary, ("px", "m"), "`boundary`")

    def _check_subject(self) -> None:
        """Refuse settings that do not say what to evaluate, or say it twice."""
        given = [
            (bool(self.maps), self.reference is not None),
            (self.images is not None, self.labels is not None),
            (self.benchmark is not None, self.root is not None and self.source is None),
            (self.source is not None,) * 2,
        ]
        check(
            sum(map(all, given)) == 1 and sum(map(any, given)) == 1,
            "evaluating needs either a map and `reference`, or for a model `images` and `labels`, "
            "`sources`, or `benchmark` and `root`",
            "For example: hyseg evaluate landcover.tif `reference` truth.tif, or `samples` p.gpkg.",
        )
        check(
            not self.maps or self.model is None,
            "`model` is for images, not for maps",
            "Leave it out, or give `images` and `labels`.",
        )
        check(
            self.source is None or self.reference_legend is None,
            "`reference_legend` does not go with `sources`",
            "Name the legend of the labels in the file of the source.",
        )

    def __post_init__(self) -> None:
        self._check_subject()
        check(
            len(self.maps) <= 2,
            f"{len(self.maps)} maps were given",
            "Give one, or two to compare.",
        )
        check(
            self.patch_size >= 64,
            f"`patch_size` {self.patch_size} is less than 64",
            "Give the side in pixels, such as 512.",
        )
        width = self.boundary_width
        check(
            width.value > 0 and (width.unit == "m" or width.value >= 1),
            f"`boundary` {self.boundary} is less than a pixel",
            "Give at least 1px.",
        )
        check(
            width.unit == "px" or bool(self.maps),
            "`boundary` in metres needs maps, which have a single pixel size",
            "Give it in pixels, such as 3px.",
        )
        check_gsd(self.gsd)
        for threshold in self.thresholds:
            check(
                self.structure or threshold.metric not in FORM_METRICS,
                f"`fail_under` {threshold.name} needs `structure`",
                "Add `structure`.",
            )
        if self.csv is not None:
            check_suffix(self.csv, (".csv",), "Tables end in .csv.", "`csv`")
        check_report(self.report)


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """`hyseg evaluate --probabilities`."""

    probabilities: Path
    """A band for each class, as `hyseg predict --probabilities` writes them."""
    reference: Path
    legend: Path | None = None
    """Legend of the reference; None for the one that the probabilities carry."""
    calibrate: Path | None = None
    """Model file whose card gets the fitted temperature."""
