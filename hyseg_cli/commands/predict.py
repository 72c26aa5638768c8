"""`hyseg predict` on the command line."""

from __future__ import annotations

from typing import Any

import click

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
    validity_options,
)
from hyseg_cli.settings import PredictSettings


@click.command(cls=HysegCommand)
@click.argument("scene")
@out_option("The map, a cloud-optimised GeoTIFF (.tif).")
@click.option("-m", "--model", type=FILE, help="Model file.  [default: the built-in model]")
@bands_option
@validity_options(PredictSettings)
@click.option(
    "--gsd",
    default=default_of(PredictSettings, "gsd"),
    show_default=True,
    metavar="auto|native|METRES",
    help="Ground size of the pixels that the network sees: resample what is far from the model's "
    "training, never, or to a size such as 0.5m. The map stays on the grid of the scene.",
)
@click.option(
    "--tile-size",
    default=default_of(PredictSettings, "tile_size"),
    show_default=True,
    help="Side of a tile in pixels of the network, a multiple of 32.",
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
