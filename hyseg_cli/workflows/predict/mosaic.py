"""`hyseg predict --mosaic`: one raster over the maps of many scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hyseg_cli import __version__
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.classes.styles import legend_of
from hyseg_cli.geo.output.cog import MapSpec, Source, put_in_place, vrt_xml, write_cog
from hyseg_cli.geo.output.context import find_neighbourhood
from hyseg_cli.geo.output.mosaic import Frame, Layer, blocks_of, compose, find_frame
from hyseg_cli.geo.output.shards import shard_path, writing_shard
from hyseg_cli.geo.output.sidecar import sidecar_of_classes
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.suffixes import SIDECAR_SUFFIX
from hyseg_cli.learn.model.card import MODEL_TAG
from hyseg_cli.legend import NODATA_ID, Legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.outputs import refuse_inputs, require_free, write_text
from hyseg_cli.workflows.predict.jobs import Job


def require_mosaic_free(jobs: Sequence[Job], settings: PredictSettings) -> None:
    """Refuse a mosaic that may not be written, before anything is mapped.

    Raises:
        OutputExistsError: If it is there and may not be replaced.
        StateMismatchError: If an unfinished run was writing a map of that name.
        UsageProblemError: If it would replace a scene or a map, or its CRS is none.
    """
    out = settings.mosaic
    if out is None:
        return
    # Scenes that are added to a folder are added to its mosaic.
    overwrite = settings.overwrite or settings.skip_existing
    require_free(out, overwrite=overwrite, flag="`mosaic`")
    WorkFolder(out).require_unneeded()
    refuse_inputs({"`mosaic`": out}, [job.scene for job in jobs])
    maps = [path for job in jobs for path in job.outputs.values()]
    refuse_inputs({"`mosaic`": out}, [str(path) for path in maps])
    if out.absolute() in {path.absolute() for path in maps}:
        raise UsageProblemError(
            f"`mosaic` {out} is the map of a scene", hint="Use another name for the mosaic."
        )
    _crs(settings)


def make_mosaic(
    jobs: Sequence[Job], settings: PredictSettings, out: Path, messages: Messages
) -> None:
    """Join maps.

    Args:
        jobs: Scenes whose maps exist.
        settings: The settings of the run.
        out: A VRT over the maps, which shares their grid, or a GeoTIFF on a grid of its own.
        messages: Receives the progress.

    Raises:
        HysegError: If the maps do not match, or the system refuses to write.
    """
    layers = [
        Layer(
            open_raster(job.out.absolute()), None if job.confidence is None else str(job.confidence)
        )
        for job in jobs
    ]
    first = layers[0].scene
    legend = legend_of(first)
    for layer in layers:
        if legend_of(layer.scene) != legend:
            raise UsageProblemError(
                f"{layer.scene.path} and {first.path} have different classes",
                hint="Map all scenes with one model; `overwrite` maps them again.",
            )
    tags = {
        "HYSEG_VERSION": __version__,
        MODEL_TAG: first.tags.get(MODEL_TAG, ""),
        "HYSEG_INPUT": f"{len(layers)} maps",
    }
    if out.suffix.lower() == ".vrt":
        _write_vrt(out, layers, legend, tags)
        return
    frame = find_frame(
        [layer.scene for layer in layers], _crs(settings), settings.mosaic_resolution
    )
    spec = MapSpec(
        height=frame.height,
        width=frame.width,
        crs=frame.crs,
        transform=frame.transform,
        legend=legend,
        tags=tags,
    )
    _write_tiff(WorkFolder(out), frame, layers, spec, settings, messages)


def _write_vrt(out: Path, layers: list[Layer], legend: Legend, tags: dict[str, str]) -> None:
    try:
        whole = find_neighbourhood([layer.scene for layer in layers])
    except UsageProblemError as error:
        raise UsageProblemError(
            f"{out} can join maps of one grid only: {error.message}",
            hint="Give `mosaic` the name of a .tif, which has a grid of its own.",
        ) from error
    spec = MapSpec(
        height=whole.height,
        width=whole.width,
        crs=whole.scenes[0].crs,
        transform=whole.transform,
        legend=legend,
        tags=tags,
    )
    # The last lies on top in a VRT; here as in a GeoTIFF the first map counts.
    sources = [
        Source(Path(scene.path).absolute(), window, may_overlap=True)
        for scene, window in reversed(list(zip(whole.scenes, whole.windows, strict=True)))
    ]
    write_text(out, vrt_xml(spec, sources, out.absolute().parent))


def _write_tiff(
    work: WorkFolder,
    frame: Frame,
    layers: list[Layer],
    spec: MapSpec,
    settings: PredictSettings,
    messages: Messages,
) -> None:
    with work.scratch():
        blocks = list(blocks_of(frame))
        pixels = np.zeros(NODATA_ID + 1, np.int64)
        sources, done, total = [], 0, sum(block.pixels for block, _ in blocks)
        for block, numbers in blocks:
            reaching = [layers[number] for number in numbers]
            ids = compose(frame, reaching, block.window, settings.mosaic_resampling)
            with writing_shard(work, block, 1) as shard:
                shard.append(ids[None])
                shard.finish({})
            pixels += np.bincount(ids.ravel(), minlength=NODATA_ID + 1)
            sources.append(Source(shard_path(work, block), block.window))
            done += block.pixels
            messages.advance(f"joining {work.out.name}", done, total, unit="px")
        cog = write_cog(work, "mosaic.tif", spec, sources)
        sidecar = work.out.with_name(work.out.name + SIDECAR_SUFFIX)
        put_in_place(cog, work.out, {sidecar: sidecar_of_classes(spec.legend, pixels, None)})


def _crs(settings: PredictSettings) -> CRS | None:
    if settings.mosaic_crs is None:
        return None
    try:
        return CRS.from_user_input(settings.mosaic_crs)
    except CRSError as error:
        raise UsageProblemError(
            f"`mosaic_crs` {settings.mosaic_crs} is not a valid CRS",
            hint="Use a code such as EPSG:3035.",
        ) from error
