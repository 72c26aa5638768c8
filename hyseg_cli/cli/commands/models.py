"""`hyseg models` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    HysegGroup,
    console,
    out_option,
    overwrite_option,
    print_result,
)
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


@models.command(cls=HysegCommand)
@click.argument("source", metavar="FILE|URL")
@click.option("--name", help="Name of the model.  [default: that of the file]")
@click.option(
    "--sha256", metavar="HEX", help="Checksum of FILE or of what URL gives; a URL needs it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def add(
    *, source: str, name: str | None, sha256: str | None, as_json: bool, overwrite: bool
) -> None:
    """Copy a model into your folder of models, so that it can be chosen by name.

    FILE is a model or a pack (`hyseg models pack`). Only safetensors files are opened, and a URL is
    fetched only here and only counts if its checksum is right.

    \b
      hyseg models add fields.zip
      hyseg models add https://example.org/fields.zip --sha256 9f86d081...
    """  # noqa: D301 - click looks for the character, not for its name
    from hyseg_cli.workflows.info import share

    added = share.add(source, name=name, sha256=sha256, overwrite=overwrite)
    print_result(json.dumps(added.to_dict()) if as_json else added.to_text())


@models.command(cls=HysegCommand)
@click.argument("model", type=FILE)
@out_option("The pack (.zip).")
@click.option("--picture", type=FILE, metavar="PNG|JPG", help="A map that it made, to show.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@overwrite_option
def pack(*, model: Path, out: Path, picture: Path | None, as_json: bool, overwrite: bool) -> None:
    """Make MODEL ready to be published: weights, card, NOTICE, picture and checksums in a zip."""
    from hyseg_cli.workflows.info import share

    with console() as messages:
        packed = share.pack(model, out, picture=picture, overwrite=overwrite)
        for missing in packed.missing:
            messages.warn(f"the model's card does not say {missing}")
    print_result(json.dumps(packed.to_dict()) if as_json else packed.to_text())
