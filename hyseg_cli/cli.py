"""The command line. Workflows are imported inside the commands: `--help` must not load torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hyseg_cli import __version__
from hyseg_cli.console import Console
from hyseg_cli.options import (
    HysegCommand,
    bands_option,
    default_of,
    device_option,
    is_quiet,
    out_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.settings import (
    EvaluateSettings,
    PredictSettings,
    TrainSettings,
    VectorizeSettings,
)

FILE = click.Path(path_type=Path)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 output exists, 4 input does not fit "
    "the model, 5 a check failed, 130 interrupted.",
)
@click.version_option(__version__, prog_name="hyseg")
def cli() -> None:
    r"""Land-cover maps and clean polygons from large georeferenced images.

    \b
      hyseg predict scene.tif --out landcover.tif
      hyseg vectorize landcover.tif --out landcover.gpkg
      hyseg evaluate landcover.tif --reference truth.tif
      hyseg train --images images/ --labels labels/ --legend legend.json --out my.safetensors
    """


@cli.command(cls=HysegCommand)
@click.argument("scene")
@out_option("The map, a cloud-optimised GeoTIFF (.tif).")
@click.option("-m", "--model", type=FILE, help="Model file.  [default: the built-in model]")
@bands_option
@click.option(
    "--tile-size",
    default=default_of(PredictSettings, "tile_size"),
    show_default=True,
    help="Side of a tile in pixels, a multiple of 32.",
)
@click.option(
    "--overlap",
    type=int,
    default=default_of(PredictSettings, "overlap"),
    help="Pixels that neighbouring tiles share, a multiple of 32.  [default: a quarter]",
)
@click.option(
    "--batch-size",
    default=default_of(PredictSettings, "batch_size"),
    show_default=True,
    help="Tiles that run through the network at once.",
)
@device_option(PredictSettings)
@click.option(
    "--seed",
    default=default_of(PredictSettings, "seed"),
    show_default=True,
    help="Seed of the prior's noise; the same place draws the same noise in every tile.",
)
@overwrite_option
def predict(**options: Any) -> None:
    """Map SCENE, any raster that GDAL opens, with a trained model."""
    from hyseg_cli.workflows import predict as workflow

    settings = PredictSettings(**options)
    with Console(quiet=is_quiet()) as report:
        result = workflow.run(settings, report)
    total = sum(result.pixels.values())
    names = dict(zip(result.legend.ids, result.legend.names, strict=True))
    for class_id, count in result.pixels.items():
        share = 100.0 * count / total
        print_result(f"{names.get(class_id, 'nodata'):<20} {count:>12} px {share:6.2f} %")
    print_result(str(result.out))


@cli.command(cls=HysegCommand)
@click.argument("map", type=FILE)
@click.option("--reference", required=True, type=FILE, help="Raster of the true class ids.")
@click.option("--legend", type=FILE, help="Legend of both, JSON.  [default: the map's own]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(*, as_json: bool, **options: Any) -> None:
    """Compare MAP with a reference, pixel by pixel on the grid of the map."""
    from hyseg_cli.workflows import evaluate as workflow

    settings = EvaluateSettings(**options)
    with Console(quiet=is_quiet()) as report:
        result = workflow.run(settings, report)
    if as_json:
        print_result(json.dumps(result.to_dict()))
    else:
        print_result(result.to_table())


@cli.command(cls=HysegCommand)
@click.argument("map", type=FILE)
@out_option("The polygons: .gpkg, .fgb, .parquet, .geojson, .geojsonl or .shp.")
@click.option(
    "--layer",
    default=default_of(VectorizeSettings, "layer"),
    show_default=True,
    help="Name of the layer in a GeoPackage.",
)
@click.option("--legend", type=FILE, help="Names and colours, JSON.  [default: the map's own]")
@click.option(
    "--mmu",
    multiple=True,
    metavar="AMOUNT",
    help="Minimum mapping unit: 100m2, 0.5ha or 25px; CLASS=AMOUNT for one class; repeat for more.",
)
@click.option(
    "--mmu-into",
    type=click.Choice(["longest-border", "largest"]),
    default=default_of(VectorizeSettings, "mmu_into"),
    show_default=True,
    help="Which neighbour takes up a region below the unit.",
)
@click.option("--keep", multiple=True, metavar="CLASS", help="Never merge this class; repeat.")
@click.option(
    "--fill-nodata", is_flag=True, help="Let neighbours take up nodata below the unit, too."
)
@click.option("--sieve-out", type=FILE, help="Also write the raster after merging (.tif).")
@click.option(
    "--smooth/--no-smooth",
    default=default_of(VectorizeSettings, "smooth"),
    show_default=True,
    help="Run borders through the middles of pixel edges: no stairs.",
)
@click.option(
    "--simplify",
    default=default_of(VectorizeSettings, "simplify"),
    show_default=True,
    metavar="AMOUNT",
    help="Tolerance of the simplification: 1.5px or 2m; 0 for none.",
)
@click.option("--classes", multiple=True, metavar="CLASS", help="Write this class only; repeat.")
@click.option("--dissolve", is_flag=True, help="Write one multipolygon for each class.")
@click.option(
    "--connectivity",
    type=click.Choice([4, 8]),
    default=default_of(VectorizeSettings, "connectivity"),
    show_default=True,
    help="8 joins regions that touch at corners to multipolygons.",
)
@click.option(
    "--split-tiles",
    default=default_of(VectorizeSettings, "split_tiles"),
    metavar="PX",
    help="Cut regions larger than a tile of PX x PX at tile lines; region_id tells what they were.",
)
@click.option(
    "--confidence",
    type=FILE,
    help="Confidence raster of the map: adds conf_mean and conf_p10 to each polygon.",
)
@click.option("--dst-crs", metavar="CRS", help="CRS to write in.  [default: the map's own]")
@click.option(
    "--split-files", is_flag=True, help="Write several Shapefiles, each below its limit of 2 GB."
)
@click.option(
    "--check/--no-check",
    default=default_of(VectorizeSettings, "check"),
    show_default=True,
    help="Prove that the polygons share their edges before the file gets its name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@overwrite_option
def vectorize(*, as_json: bool, **options: Any) -> None:
    """Turn MAP, a class raster of any size, into polygons without gaps or overlaps."""
    from hyseg_cli.workflows import vectorize as workflow

    settings = VectorizeSettings(**options)
    with Console(quiet=is_quiet()) as report:
        result = workflow.run(settings, report)
    if as_json:
        print_result(json.dumps(result.to_dict()))
        return
    print_result(f"{result.summary.polygons} polygons, {result.summary.vertices} vertices")
    if result.proof is not None:
        print_result(f"{result.proof.edges} edges, every inner one shared by two polygons")
    for file in result.files:
        print_result(str(file))


@cli.command(cls=HysegCommand)
@click.argument("model", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(*, model: Path | None, as_json: bool) -> None:
    """Tell what MODEL is and what it costs: card, configuration, parameters and operations.

    Without MODEL, the built-in one.
    """
    from hyseg_cli.workflows import info as workflow

    result = workflow.run(model)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())


@cli.command(cls=HysegCommand)
@click.option("--images", required=True, type=FILE, help="Folder or file of images.")
@click.option(
    "--labels",
    required=True,
    type=FILE,
    help="Folder or file of label rasters, class ids or colours, named like their images.",
)
@click.option("--legend", required=True, type=FILE, help="The classes, JSON.")
@out_option("The model file (.safetensors); logs go to a folder beside it.")
@click.option(
    "--preset",
    default=default_of(TrainSettings, "preset"),
    show_default=True,
    help="Network: default, light or cpu_smoke.",
)
@bands_option
@click.option(
    "--band-name",
    "band_names",
    multiple=True,
    help="Name of a band for the model card; repeat in order.  [default: red, green, blue]",
)
@click.option(
    "--val-scenes",
    multiple=True,
    metavar="NAME",
    help="Scene kept out of the training and measured; repeat for more.",
)
@click.option("--prior", type=FILE, help="Model whose prior is taken over instead of training one.")
@click.option(
    "--prior-steps",
    default=default_of(TrainSettings, "prior_steps"),
    show_default=True,
    help="Steps of stage 1, the structure prior.",
)
@click.option(
    "--steps",
    default=default_of(TrainSettings, "steps"),
    show_default=True,
    help="Steps of stage 2, the segmentation.",
)
@click.option("--batch-size", default=default_of(TrainSettings, "batch_size"), show_default=True)
@click.option(
    "--chip-size",
    default=default_of(TrainSettings, "chip_size"),
    show_default=True,
    help="Side of the training chips in pixels.",
)
@click.option(
    "--prior-rate",
    default=default_of(TrainSettings, "prior_rate"),
    show_default=True,
    help="Learning rate of stage 1.",
)
@click.option(
    "--rate",
    default=default_of(TrainSettings, "rate"),
    show_default=True,
    help="Learning rate of stage 2.",
)
@click.option(
    "--min-scale",
    default=default_of(TrainSettings, "min_scale"),
    show_default=True,
    help="Smallest magnification of a training chip.",
)
@click.option(
    "--max-scale",
    default=default_of(TrainSettings, "max_scale"),
    show_default=True,
    help="Largest magnification of a training chip.",
)
@click.option("--pretrained", is_flag=True, help="Fetch ImageNet weights for the backbones.")
@click.option(
    "--val-every",
    default=default_of(TrainSettings, "val_every"),
    show_default=True,
    help="Steps between validations.",
)
@click.option(
    "--workers",
    default=default_of(TrainSettings, "workers"),
    show_default=True,
    help="Processes that prepare chips.",
)
@device_option(TrainSettings)
@click.option("--seed", default=default_of(TrainSettings, "seed"), show_default=True)
@click.option("--data-name", default="", help="Name of the data set, for the model card.")
@click.option("--licence", default="", help="Licence of the data, for the model card.")
@click.option("--attribution", default="", help="Whom to credit, for the model card.")
@overwrite_option
def train(**options: Any) -> None:
    """Train a model on images and label rasters."""
    from hyseg_cli.workflows import train as workflow

    settings = TrainSettings(**options)
    with Console(quiet=is_quiet()) as report:
        result = workflow.run(settings, report)
    if result.scores is not None:
        print_result(f"validation mIoU {result.scores.mean_iou:.3f}")
        print_result(f"validation accuracy {result.scores.overall_accuracy:.3f}")
    print_result(str(result.out))


if __name__ == "__main__":
    cli()
