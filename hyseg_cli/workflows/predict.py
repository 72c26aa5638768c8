"""`hyseg predict`: scene -> land-cover map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from hyseg_cli import __version__
from hyseg_cli.console import Report
from hyseg_cli.geo.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.mosaic import MapSpec, MosaicWriter
from hyseg_cli.geo.reading import REMOTE_OPTIONS, SceneReader, scene_validity
from hyseg_cli.geo.scene import Scene, open_scene
from hyseg_cli.geo.strips import read_strips
from hyseg_cli.geo.validity import AS_DECLARED, Validity
from hyseg_cli.learn.card import Model, built_in_model, load_model
from hyseg_cli.learn.contract import match
from hyseg_cli.learn.device import choose_device
from hyseg_cli.learn.infer import Predictor
from hyseg_cli.learn.rescale import AtOtherResolution
from hyseg_cli.learn.shift import measure_shift
from hyseg_cli.learn.stitch import Classify, map_strips
from hyseg_cli.legend import NODATA_ID, Legend
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.outputs import require_free

GDAL_CACHE_MB = 64
"""GDAL's default is 5 % of the machine's memory; rows are read once, so little is enough."""


@dataclass(frozen=True)
class PredictResult:
    """What was written."""

    out: Path
    legend: Legend
    pixels: dict[int, int]
    """Pixels of the map by class id; 255 is nodata."""
    distance: float | None = None
    """How far the scene's values are from the training's, see `learn.shift`; None if not known."""


def run(settings: PredictSettings, report: Report) -> PredictResult:
    """Map one scene.

    Raises:
        HysegError: One of its kinds, for anything that keeps the map from being written; no
            part of it is left behind.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    if settings.confidence is not None:
        require_free(settings.confidence, overwrite=settings.overwrite, flag="--confidence")
    if settings.probabilities is not None:
        require_free(settings.probabilities, overwrite=settings.overwrite, flag="--probabilities")
    device = choose_device(settings.device)
    scene = open_scene(settings.scene)
    model = load_model(settings.model or built_in_model())
    contract = match(scene, model.card, settings.bands, gsd_m=settings.gsd_m)
    validity = _validity(scene, contract.bands, settings, report)
    with SceneReader(scene, contract.bands, validity=validity) as reader:
        shift = measure_shift(reader, model.card)
    far = (shift.warning,) if shift and shift.warning else ()
    for warning in contract.warnings + far:
        report.warn(warning)
    classify: Classify = Predictor(model, device, seed=settings.seed)
    if contract.alignment != ALIGNMENT:
        classify = AtOtherResolution(classify, contract.alignment)
    result = write_map(
        scene,
        contract.bands,
        classify,
        model.card.legend,
        settings,
        _provenance(model, settings),
        report,
        validity=validity,
        alignment=contract.alignment,
    )
    return replace(result, distance=shift.distance if shift else None)


def _validity(
    scene: Scene, bands: tuple[int, ...], settings: PredictSettings, report: Report
) -> Validity:
    """What empties pixels of the scene; a collar that was found is told."""
    validity = scene_validity(
        scene, bands, nodata=settings.src_nodata, find_collars=settings.collar == "auto"
    )
    if validity.collar is not None:
        report.note(
            f"{100 * validity.collar.share:.1f} % of {scene.path} are a collar without data; "
            "--collar none maps it, too"
        )
    return validity


def write_map(
    scene: Scene,
    bands: tuple[int, ...],
    classify: Classify,
    legend: Legend,
    settings: PredictSettings,
    tags: dict[str, str],
    report: Report,
    *,
    validity: Validity = AS_DECLARED,
    alignment: int = ALIGNMENT,
) -> PredictResult:
    """Classify a scene tile by tile and write the map."""
    grid = TileGrid.cover(
        scene.height,
        scene.width,
        tile=settings.tile_size,
        overlap=settings.overlap_px,
        phase=scene.noise_origin,
        alignment=alignment,
    )
    if "AREA_OR_POINT" in scene.tags:
        tags = tags | {"AREA_OR_POINT": scene.tags["AREA_OR_POINT"]}
    spec = MapSpec(
        height=scene.height,
        width=scene.width,
        crs=scene.crs,
        transform=scene.transform,
        control=scene.control,
        legend=legend,
        tags=tags,
    )
    id_of_channel = _ids_by_channel(legend)
    pixels = np.zeros(NODATA_ID + 1, np.int64)
    with (
        rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB, **REMOTE_OPTIONS),
        SceneReader(scene, bands, validity=validity) as reader,
        _open_outputs(settings, spec) as outputs,
    ):
        done = 0
        for rows in map_strips(
            read_strips(reader, grid),
            grid,
            classify,
            batch_size=settings.batch_size,
            noise_origin=scene.noise_origin,
            levels=outputs.needs_levels,
        ):
            class_ids = id_of_channel[rows.channels]
            pixels += np.bincount(class_ids.ravel(), minlength=NODATA_ID + 1)
            outputs.write(class_ids, rows.levels)
            done += len(class_ids)
            report.advance(f"mapping {Path(scene.path).name}", done, scene.height)
        outputs.finish()
    found = np.flatnonzero(pixels)
    return PredictResult(settings.out, legend, {int(i): int(pixels[i]) for i in found})


@contextmanager
def _open_outputs(settings: PredictSettings, spec: MapSpec) -> Iterator[_Outputs]:
    """The map and what was asked for beside it; none is left behind unfinished."""
    with ExitStack() as stack:

        def open_shares(out: Path | None, names: tuple[str, ...]) -> MosaicWriter | None:
            if out is None:
                return None
            return stack.enter_context(MosaicWriter(out, replace(spec, shares=names)))

        yield _Outputs(
            stack.enter_context(MosaicWriter(settings.out, spec)),
            open_shares(settings.confidence, ("confidence",)),
            open_shares(settings.probabilities, spec.legend.names),
        )


@dataclass(frozen=True)
class _Outputs:
    """The rasters that one run writes."""

    land_cover: MosaicWriter
    confidence: MosaicWriter | None
    probabilities: MosaicWriter | None

    @property
    def needs_levels(self) -> bool:
        """Whether anything but classes is written."""
        return self.confidence is not None or self.probabilities is not None

    def write(self, class_ids: npt.NDArray[np.uint8], levels: npt.NDArray[np.uint8] | None) -> None:
        """Append rows to all rasters."""
        self.land_cover.write(class_ids)
        if levels is not None and self.confidence is not None:
            self.confidence.write(levels.max(axis=0))
        if levels is not None and self.probabilities is not None:
            self.probabilities.write(levels)

    def finish(self) -> None:
        """Give all rasters their names, the map last."""
        for writer in (self.confidence, self.probabilities, self.land_cover):
            if writer is not None:
                writer.finish()


def _ids_by_channel(legend: Legend) -> npt.NDArray[np.uint8]:
    table = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
    table[: len(legend)] = legend.ids
    return table


def _provenance(model: Model, settings: PredictSettings) -> dict[str, str]:
    used = {
        "tile_size": settings.tile_size,
        "overlap": settings.overlap_px,
        "seed": settings.seed,
        "gsd": settings.gsd,
        "collar": settings.collar,
        "src_nodata": [f"{value:g}" for value in settings.src_nodata],  # JSON has no NaN
    }
    return {
        "HYSEG_VERSION": __version__,
        "HYSEG_MODEL": model.digest,
        "HYSEG_SETTINGS": json.dumps(used),
        "HYSEG_INPUT": Path(settings.scene).name,
        "HYSEG_ATTRIBUTION": model.card.data.attribution,
    }
