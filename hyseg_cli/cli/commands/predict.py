"""`hyseg predict` on the command line."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from hyseg_cli.cli.options import (
    FILE,
    Bounds,
    HysegCommand,
    Part,
    bands_option,
    console,
    default_of,
    device_option,
    gsd_option,
    model_option,
    out_option,
    overwrite_option,
    precision_option,
    print_result,
    validity_options,
)
from hyseg_cli.settings.choices import Noise, OnError, Resampling, TestTimeAugmentation
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.startup import loading

SOME_FAILED = 6


@click.command(cls=HysegCommand)
@click.argument(
    "inputs", nargs=-1, required=True, metavar="SCENE...", shell_complete=FILE.shell_complete
)
@out_option("The map, a cloud-optimised GeoTIFF (.tif); for several scenes, their folder.")
@model_option
@bands_option
@validity_options(PredictSettings)
@gsd_option(PredictSettings)
@click.option(
    "--bounds",
    type=Bounds(),
    metavar="L,B,R,T",
    help="Map only this rectangle: left, bottom, right, top in the scene's CRS.",
)
@click.option("--aoi", type=FILE, help="Map only inside these polygons, of any vector file.")
@click.option(
    "--context/--no-context",
    default=default_of(PredictSettings, "context"),
    show_default=True,
    help="Let the network see across the edges of scenes cut from one grid.",
)
@click.option(
    "--tile-size",
    type=int,
    help="Side of a tile in pixels of the network, a multiple of 32.  "
    "[default: 512, or that of the training chips if larger]",
)
@click.option(
    "--overlap",
    type=int,
    default=default_of(PredictSettings, "overlap"),
    help="Pixels that neighbouring tiles share, a multiple of 32.  "
    "[default: a quarter, at most 128]",
)
@click.option(
    "--batch-size",
    default=default_of(PredictSettings, "batch_size"),
    show_default=True,
    help="Tiles that run through the network at once on a GPU.",
)
@device_option(PredictSettings)
@precision_option(PredictSettings)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the network first: takes minutes, pays off on a GPU if there is much to map.",
)
@click.option(
    "--devices",
    default=default_of(PredictSettings, "devices"),
    show_default=True,
    help="Processes that share the scenes, on as many GPUs or on the CPU.",
)
@click.option(
    "--cluster",
    metavar="ray|ray://HOST:PORT",
    help="Share the scenes among workers of the Ray cluster of this machine, or of another one; "
    "scenes, model and --out must be on storage that all of them share.",
)
@click.option(
    "--workers",
    type=int,
    help="Workers of the cluster.  [default: as many as it has room for]",
)
@click.option(
    "--gpus-per-worker",
    default=default_of(PredictSettings, "gpus_per_worker"),
    show_default=True,
    help="GPUs of each of these workers, such as 1 or 0.5; with 0 they work on CPUs.",
)
@click.option(
    "--max-memory",
    default=default_of(PredictSettings, "max_memory"),
    show_default=True,
    metavar="AMOUNT",
    help="Memory limit of a process; wide scenes are mapped in blocks of columns.",
)
@click.option(
    "--seed",
    default=default_of(PredictSettings, "seed"),
    show_default=True,
    help="Seed of the prior's noise, which depends on the location, not on the tile.",
)
@click.option(
    "--noise",
    type=click.Choice(get_args(Noise)),
    help="What the prior starts from: noise by location, its mean over all noise, or none.  "
    "[default: the model's own]",
)
@click.option(
    "--tta",
    type=click.Choice(get_args(TestTimeAugmentation)),
    default=default_of(PredictSettings, "tta"),
    show_default=True,
    help="Average several views of each tile (4, 8 or 3 times the work).",
)
@click.option(
    "--confidence", type=FILE, help="Also write the largest probability, 0-254, 255 for nodata."
)
@click.option(
    "--probabilities", type=FILE, help="Also write all probabilities, a band for each class."
)
@click.option(
    "--mosaic",
    type=FILE,
    help="Join the maps of several scenes: .vrt for a VRT over maps of one grid, .tif for a raster "
    "of its own. Where maps overlap in it, the higher --confidence counts, else the first.",
)
@click.option(
    "--mosaic-crs", metavar="CRS", help="CRS of the mosaic.  [default: of the first scene]"
)
@click.option(
    "--mosaic-resolution",
    type=float,
    help="Pixel side of the mosaic in units of its CRS.  [default: of the finest scene]",
)
@click.option(
    "--mosaic-resampling",
    type=click.Choice(get_args(Resampling)),
    default=default_of(PredictSettings, "mosaic_resampling"),
    show_default=True,
    help="How its pixels get their class: the nearest one, or the most frequent.",
)
@click.option(
    "--style", is_flag=True, help="Also write styles beside the map: .qml (QGIS) and .sld."
)
@click.option("--stac", is_flag=True, help="Also write a STAC Item beside the map: .tif.stac.json.")
@click.option(
    "--preview",
    type=FILE,
    metavar="PNG",
    help="Also draw the scene beside its map, with legend, scale and north; for several scenes, "
    "a folder.",
)
@click.option(
    "--report",
    type=FILE,
    metavar="HTML",
    help="Also write a page with the map over the scene, areas and provenance; for several "
    "scenes, a folder.",
)
@click.option(
    "--resume/--no-resume",
    default=default_of(PredictSettings, "resume"),
    show_default=True,
    help="Continue an unfinished run, or start over.",
)
@click.option(
    "--shard",
    type=Part(),
    metavar="I/N",
    help="Compute part I of N, in a folder that all parts share; --merge makes the map.",
)
@click.option("--merge", is_flag=True, help="Make the map of parts that were computed before.")
@click.option("--skip-existing", is_flag=True, help="Skip scenes whose map exists.")
@click.option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default=default_of(PredictSettings, "on_error"),
    show_default=True,
    help="If one of several scenes fails: continue with the others, or stop.",
)
@click.option(
    "--manifest",
    type=FILE,
    help="Write the result of each scene to this file, a line of JSON as soon as it ends.",
)
@click.option(
    "--staging",
    type=FILE,
    help="Local folder for outputs that go to object storage (/vsis3/BUCKET/NAME).  "
    "[default: ~/.cache/hyseg/staging]",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print tiles, memory, disk and time, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
@click.pass_context
def predict(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Map each SCENE with a trained model.

    A SCENE is any raster that GDAL opens, a folder of them, or @FILE with a list. Run the same
    command again to continue an interrupted run.
    """
    with loading():
        from hyseg_cli.workflows.predict import run as workflow

    settings = PredictSettings(**options)
    documents = {}
    if settings.report is not None or settings.preview is not None:
        from hyseg_cli.report.prediction import write_documents

        documents["publish"] = write_documents
    with console() as messages:
        result = workflow.run(settings, messages, **documents)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
    if result.failed:
        ctx.exit(SOME_FAILED)
