"""`hyseg vectorize`: land-cover map -> polygons that fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyseg_cli.console import Report
from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.geo.coverage import CoverageCheck, check_coverage, simplify, trace
from hyseg_cli.geo.features import to_features, write_features
from hyseg_cli.geo.grid import Window
from hyseg_cli.geo.scene import Scene, SceneReader, open_scene
from hyseg_cli.geo.style import legend_of
from hyseg_cli.legend import NODATA_ID
from hyseg_cli.settings import VectorizeSettings
from hyseg_cli.workflows.outputs import require_free


@dataclass(frozen=True)
class VectorizeResult:
    """What was written."""

    out: Path
    polygons: int
    check: CoverageCheck | None
    """The proof, if it was asked for; it has passed."""


def run(settings: VectorizeSettings, report: Report) -> VectorizeResult:
    """Turn a class raster into a coverage of polygons.

    The whole raster is held in memory.

    Raises:
        CheckFailedError: If the polygons do not fit together; nothing is written then.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    scene = open_scene(settings.map)
    _require_class_raster(scene)
    legend = legend_of(scene)
    with SceneReader(scene, (1,)) as reader:
        pixels = reader.read(Window(0, 0, scene.height, scene.width))
    classes = np.where(pixels.valid, pixels.image[0], NODATA_ID).astype(np.uint8)
    report.note("tracing regions")
    coverage = simplify(trace(classes), settings.simplify_px)
    if len(coverage.polygons) == 0:
        raise HysegError(
            f"{settings.map} holds no class at all", hint="All of its pixels are nodata."
        )
    check = None
    if settings.check:
        report.note("checking that the polygons fit together")
        check = check_coverage(coverage)
        check.require()
    write_features(to_features(coverage, scene, legend), settings.out, layer=settings.layer)
    return VectorizeResult(settings.out, len(coverage.polygons), check)


def _require_class_raster(scene: Scene) -> None:
    if len(scene.dtypes) != 1 or scene.dtypes[0] != "uint8":
        kinds = ", ".join(scene.dtypes)
        raise ModelMismatchError(
            f"{scene.path} is no class raster: one band of uint8 is needed, it has {kinds}",
            hint="Give the map that `hyseg predict` wrote, not the scene or its probabilities.",
        )
