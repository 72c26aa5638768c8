"""The command line: a group of commands.

A command is imported when it is called, and imports its workflow in its body: `--help` must not
load torch, and no command waits for the options of others.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

from hyseg_cli.cli.environment import PREFIX
from hyseg_cli.cli.options import HysegGroup

COMMANDS = (
    "change",
    "check",
    "completion",
    "evaluate",
    "export",
    "info",
    "models",
    "predict",
    "qgis",
    "sample",
    "suggest",
    "train",
    "vectorize",
)
"""Commands by name, each with its module and its name there."""


class _LoadingGroup(HysegGroup):
    """A group whose commands are loaded one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as in the base class
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        # Completion is of the command line itself, not of a workflow.
        room = "hyseg_cli.cli" if cmd_name == "completion" else "hyseg_cli.cli.commands"
        module = import_module(f"{room}.{cmd_name}")
        return cast("click.Command", getattr(module, cmd_name))


def _print_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 - click's
    if is_asked and not context.resilient_parsing:
        from hyseg_cli import __version__

        click.echo(f"hyseg, version {__version__}")
        context.exit()


@click.group(
    cls=_LoadingGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": PREFIX,
    },
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 output exists, 4 input does not fit "
    "the model, 5 a check failed, 6 some scenes failed, 130 or 143 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    # Build scripts often use the name HYSEG_VERSION for something else.
    allow_from_autoenv=False,
    help="Show the version and exit.",
)
def cli() -> None:
    """Land-cover maps and clean polygons from large georeferenced images.

    \b
      hyseg predict scene.tif --out landcover.tif
      hyseg vectorize landcover.tif --out landcover.gpkg
      hyseg evaluate landcover.tif --reference truth.tif
      hyseg sample landcover.tif --out points.gpkg
      hyseg train --images images/ --labels labels/ --legend legend.json --out my.safetensors
    """  # noqa: D301 - click looks for the character, not for its name
