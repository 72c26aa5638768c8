"""`hyseg models` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hyseg_cli.cli.options import FILE, HysegCommand, HysegGroup, print_result
from hyseg_cli.startup import loading


@click.group(cls=HysegGroup, short_help="Models that can be chosen by name.")
def models() -> None:
    """Models that can be chosen by name: built-in ones, and those in folders of your own.

    A model file NAME.safetensors in such a folder is `--model NAME`. The folders are those of the
    environment variable HYSEG_MODELS, separated as in PATH, then hyseg/models in
    XDG_DATA_HOME (~/.local/share); `hyseg models path` prints them.
    """


@models.command("list", cls=HysegCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_(*, as_json: bool) -> None:
    """List names, classes, bands, resolution and files."""
    from hyseg_cli.workflows.info import models as workflow

    found = workflow.run()
    print_result(json.dumps(found.to_dict()) if as_json else found.to_text())


@models.command(cls=HysegCommand)
@click.argument("model", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def show(*, model: Path, as_json: bool) -> None:
    """Describe MODEL, a name or a file, as `hyseg info --all` does."""
    with loading():
        from hyseg_cli.workflows.info.run import describe_model

    result = describe_model(model)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())


@models.command(cls=HysegCommand)
@click.argument("model", type=FILE, required=False)
def path(*, model: Path | None) -> None:
    """Print the file of MODEL; without MODEL, the folders that are searched for names."""
    from hyseg_cli.workflows.info.models import paths_of

    print_result("\n".join(str(found) for found in paths_of(model)))
