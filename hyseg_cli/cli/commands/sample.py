"""`hyseg sample` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    console,
    default_of,
    out_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.settings.sample import EXPECTED_ACCURACY, SampleSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.argument("map", type=FILE)
@out_option("The points: .gpkg, .fgb, .parquet, .geojson, .geojsonl or .shp.")
@click.option("--strata", type=FILE, help="Raster of strata.  [default: the classes of MAP]")
@click.option(
    "--legend", type=FILE, help="Names and colours of the map's classes.  [default: the map's own]"
)
@click.option(
    "--allocation",
    type=click.Choice(["proportional", "equal", "neyman", "olofsson"]),
    default=default_of(SampleSettings, "allocation"),
    show_default=True,
    help="How strata share the points: by area, alike, by area and spread, or by area with "
    "50 at least.",
)
@click.option(
    "--target-se",
    default=default_of(SampleSettings, "target_se"),
    show_default=True,
    help="Draw as many points as this standard error of overall accuracy asks for.",
)
@click.option("--count", type=int, help="Draw so many points instead.")
@click.option(
    "--expect",
    multiple=True,
    metavar="[CLASS=]ACCURACY",
    help="Accuracy to be expected of all classes, or of one; repeat.  "
    f"[default: {EXPECTED_ACCURACY}]",
)
@click.option(
    "--min-per-class",
    type=int,
    help="Points of each stratum at least.  [default: 50 with olofsson, else 2]",
)
@click.option("--min-distance", metavar="AMOUNT", help="Between points: 100m or 10px.")
@click.option(
    "--seed",
    default=default_of(SampleSettings, "seed"),
    show_default=True,
    help="Seed of the draw.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def sample(*, as_json: bool, **options: Any) -> None:
    """Draw random points of MAP, stratified by its classes, to be labelled by an interpreter.

    Fill in the field ref_class and give the file to `hyseg evaluate --samples`. The classes of
    the map do not stand in it, so that they lead nobody; they are in the .design.json beside it.
    """
    with loading():
        from hyseg_cli.workflows import sample as workflow

    settings = SampleSettings(**options)
    with console() as messages:
        result = workflow.run(settings, messages)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_table())
