"""`hyseg sample` on the command line."""

from __future__ import annotations

import json
from typing import Any, get_args

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
from hyseg_cli.settings.choices import Allocation
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
    type=click.Choice(get_args(Allocation)),
    default=default_of(SampleSettings, "allocation"),
    show_default=True,
    help="How points are divided among strata: by area, equally, by area and spread, or by area "
    "with at least 50 each.",
)
@click.option(
    "--target-se",
    default=default_of(SampleSettings, "target_se"),
    show_default=True,
    help="Draw as many points as this standard error of overall accuracy requires.",
)
@click.option("-n", "--count", type=int, help="Draw this many points instead.")
@click.option(
    "--expect",
    multiple=True,
    metavar="[CLASS=]ACCURACY",
    help=f"Expected accuracy of all classes, or of one; repeat.  [default: {EXPECTED_ACCURACY}]",
)
@click.option(
    "--min-per-class",
    type=int,
    help="Least number of points per stratum.  [default: 50 with olofsson, else 2]",
)
@click.option(
    "--min-distance", metavar="AMOUNT", help="Least distance between points: 100m or 10px."
)
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

    Fill in the field ref_class and give the file to `hyseg evaluate --samples`. It leaves
    out the classes of the map, so that they do not bias the interpreter; the .design.json beside
    it has them.
    """
    with loading():
        from hyseg_cli.workflows import sample as workflow

    settings = SampleSettings(**options)
    with console() as messages:
        result = workflow.run(settings, messages)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_table())
