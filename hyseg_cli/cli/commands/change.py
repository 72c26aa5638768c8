"""`hyseg change` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.cli.options import FILE, HysegCommand, console, overwrite_option, print_result
from hyseg_cli.settings.change import ChangeSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option(
    "-o", "--out", type=FILE, help="Also map the changes (.tif): a class for each kind of change."
)
@click.option(
    "--legend", type=FILE, help="Names and colours of both maps' classes.  [default: their own]"
)
@click.option(
    "--map-classes",
    type=FILE,
    metavar="JSON",
    help='Classes to rename and so to merge, such as {"lane": "road"}; null leaves one out.',
)
@click.option("--csv", type=FILE, help="Also write the table.")
@click.option("--style", is_flag=True, help="Also write styles beside --out: .qml (QGIS) and .sld.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def change(*, as_json: bool, **options: Any) -> None:
    """Compare the maps OLD and NEW of one place: which class became which, and how much.

    NEW may have another grid and CRS. Areas of counted pixels hold the errors of both maps: for
    areas with intervals, draw a sample of the map of changes (`hyseg sample`), label it, and give
    it to `hyseg evaluate --samples`.

    \b
      hyseg change 2020.tif 2025.tif --out change.tif
      hyseg sample change.tif --out points.gpkg
      hyseg evaluate change.tif --samples points.gpkg
    """  # noqa: D301 - click looks for the character, not for its name
    settings = ChangeSettings(**options)
    with loading():
        from hyseg_cli.workflows.evaluate import change as workflow

    with console() as messages:
        result = workflow.run(settings, messages)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
