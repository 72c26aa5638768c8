"""`hyseg export` on the command line."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    bands_option,
    console,
    default_of,
    out_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.settings.choices import ExportFormat
from hyseg_cli.settings.export import ExportSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.argument("model", type=FILE)
@out_option("The file (.onnx or .pt2).")
@click.option(
    "--scene",
    type=FILE,
    required=True,
    help="A scene that MODEL fits: the file is checked on tiles of it.",
)
@click.option(
    "--format",
    type=click.Choice(get_args(ExportFormat)),
    default=default_of(ExportSettings, "format"),
    show_default=True,
    help="Kind of file: onnx for ONNX Runtime and plugins such as Deepness, pt2 for "
    "torch.export.load.",
)
@click.option(
    "--tile-size",
    default=default_of(ExportSettings, "tile_size"),
    show_default=True,
    help="Side of the tiles that the file takes, a multiple of 32.",
)
@bands_option
@click.option(
    "--tiles",
    default=default_of(ExportSettings, "tiles"),
    show_default=True,
    help="Tiles to check on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def export(*, as_json: bool, **options: Any) -> None:
    """Write MODEL, a file or a name, as one graph that other programs run.

    It takes one tile and gives the probabilities of its classes; standardisation and temperature
    are inside. The file is kept only if it finds the network's class on 99.9 % of the pixels of
    real tiles. Its prior gets no noise, because a graph does not know the place of a tile.

    \b
      hyseg export default --scene scene.tif --out default.onnx
    """  # noqa: D301 - click looks for the character, not for its name
    settings = ExportSettings(**options)
    with loading():
        from hyseg_cli.workflows.export import run as workflow

    with console() as messages:
        result = workflow.run(settings, messages)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
