"""The command line: a group of commands.

They import their workflows in their bodies: `--help` must not load torch.
"""

from __future__ import annotations

import click

from hyseg_cli.commands.completion import completion
from hyseg_cli.commands.evaluate import evaluate
from hyseg_cli.commands.info import info
from hyseg_cli.commands.models import models
from hyseg_cli.commands.predict import predict
from hyseg_cli.commands.sample import sample
from hyseg_cli.commands.train import train
from hyseg_cli.commands.vectorize import vectorize
from hyseg_cli.environment import PREFIX


def _print_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 - click's
    if is_asked and not context.resilient_parsing:
        from hyseg_cli import __version__

        click.echo(f"hyseg, version {__version__}")
        context.exit()


@click.group(
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
    # HYSEG_VERSION is a name that build scripts like to give to something else.
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


for command in (predict, vectorize, evaluate, sample, train, info, models, completion):
    cli.add_command(command)
