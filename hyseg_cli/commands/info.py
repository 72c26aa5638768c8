"""`hyseg info` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hyseg_cli.options import (
    FILE,
    HysegCommand,
    overwrite_option,
    print_result,
)


@click.command(cls=HysegCommand)
@click.argument("model", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option(
    "--stac",
    type=FILE,
    metavar="FILE",
    help="Also write a STAC Item for the model, with the machine-learning-model extension.",
)
@overwrite_option
def info(*, model: Path | None, as_json: bool, stac: Path | None, overwrite: bool) -> None:
    """Tell what MODEL is and what it costs: card, configuration, parameters and operations.

    Without MODEL, the built-in one.
    """
    from hyseg_cli.workflows import info as workflow

    if stac is None:
        result = workflow.run(model)
    else:
        from hyseg_cli.workflows import model_item

        result = model_item.run(model, stac, overwrite=overwrite)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())
