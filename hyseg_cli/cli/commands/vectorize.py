"""`hyseg vectorize` on the command line."""

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
from hyseg_cli.settings.choices import Connectivity, MergedInto
from hyseg_cli.settings.vectorize import VectorizeSettings


@click.command(cls=HysegCommand)
@click.argument("map", type=FILE)
@out_option("The polygons: .gpkg, .fgb, .parquet, .geojson, .geojsonl or .shp.")
@click.option(
    "--layer",
    default=default_of(VectorizeSettings, "layer"),
    show_default=True,
    help="Name of the layer in a GeoPackage.",
)
@click.option(
    "--legend", type=FILE, help="Names and colours of the map's classes.  [default: the map's own]"
)
@click.option(
    "--mmu",
    multiple=True,
    metavar="AMOUNT",
    help="Minimum mapping unit: 100m2, 0.5ha or 25px; CLASS=AMOUNT for one class; repeat for more.",
)
@click.option(
    "--mmu-into",
    type=click.Choice(get_args(MergedInto)),
    default=default_of(VectorizeSettings, "mmu_into"),
    show_default=True,
    help="Which neighbour absorbs a region below the minimum.",
)
@click.option("--keep", multiple=True, metavar="CLASS", help="Never merge this class; repeat.")
@click.option(
    "--fill-nodata", is_flag=True, help="Let neighbours absorb nodata areas below the minimum, too."
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
    type=click.Choice(get_args(Connectivity)),
    default=default_of(VectorizeSettings, "connectivity"),
    show_default=True,
    help="8 joins regions that touch at corners into multipolygons.",
)
@click.option(
    "--split-tiles",
    default=default_of(VectorizeSettings, "split_tiles"),
    metavar="PX",
    help="Cut regions larger than a tile of PX x PX at tile lines; region_id names the whole.",
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
    help="Check that polygons share edges exactly before the file is saved.",
)
@click.option(
    "--stac", is_flag=True, help="Also write a STAC Item beside the polygons: .gpkg.stac.json."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def vectorize(*, as_json: bool, **options: Any) -> None:
    """Turn MAP, a class raster of any size, into polygons without gaps or overlaps."""
    from hyseg_cli.workflows.vectorize import run as workflow

    settings = VectorizeSettings(**options)
    with console() as messages:
        result = workflow.run(settings, messages)
    if as_json:
        print_result(json.dumps(result.to_dict()))
        return
    print_result(f"{result.summary.polygons} polygons, {result.summary.vertices} vertices")
    if result.proof is not None:
        print_result(f"{result.proof.edges} edges, every inner one shared by two polygons")
    for file in result.files:
        print_result(str(file))
