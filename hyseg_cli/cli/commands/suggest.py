"""`hyseg suggest` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    bands_option,
    class_field_option,
    console,
    default_of,
    device_option,
    model_option,
    out_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.settings.suggest import SuggestSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.argument("scene", type=FILE)
@out_option("The places: .gpkg, small squares with an empty class to be filled in.")
@model_option
@click.option(
    "-n",
    "--count",
    default=default_of(SuggestSettings, "count"),
    show_default=True,
    help="How many places to suggest.",
)
@click.option(
    "--labels",
    type=FILE,
    help="Polygons that are drawn already: they are copied to --out, and not suggested again.",
)
@class_field_option(SuggestSettings)
@bands_option
@click.option(
    "--blocks",
    default=default_of(SuggestSettings, "blocks"),
    show_default=True,
    help="Most tiles of 576 x 576 pixels to look at, at random from a large scene.",
)
@device_option(SuggestSettings)
@click.option(
    "--seed",
    default=default_of(SuggestSettings, "seed"),
    show_default=True,
    help="Seed of the tiles and clusters.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def suggest(*, as_json: bool, **options: Any) -> None:
    """Show where in SCENE another polygon would teach the model most.

    The places are unsure, typical of much of the scene, and unlike each other and unlike what is
    drawn. Open the file in a GIS, fill in the class of each square (or delete it), and give the
    file to `hyseg train --labels`.
    """
    settings = SuggestSettings(**options)
    with loading():
        from hyseg_cli.workflows.few import suggest as workflow

    with console() as messages:
        result = workflow.run(settings, messages)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
