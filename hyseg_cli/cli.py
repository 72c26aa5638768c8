"""The command line. Workflows are imported inside the commands: `--help` must not load torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hyseg_cli import __version__
from hyseg_cli.commands.train import train
from hyseg_cli.commands.vectorize import vectorize
from hyseg_cli.console import Console
from hyseg_cli.options import (
    FILE,
    HysegCommand,
    bands_option,
    default_of,
    device_option,
    is_quiet,
    out_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.settings import EvaluateSettings, PredictSettings


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
@click.option(
    "--confidence", type=FILE, help="Also write the largest probability, 0-254, 255 for nodata."
)
@click.option(
    "--probabilities", type=FILE, help="Also write all probabilities, a band for each class."
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
@click.option("--legend", type=FILE, help="Legend of both.  [default: the map's own]")
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
@click.argument("model", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(*, model: Path | None, as_json: bool) -> None:
    """Tell what MODEL is and what it costs: card, configuration, parameters and operations.

    Without MODEL, the built-in one.
    """
    from hyseg_cli.workflows import info as workflow

    result = workflow.run(model)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())


cli.add_command(vectorize)
cli.add_command(train)


if __name__ == "__main__":
    cli()
