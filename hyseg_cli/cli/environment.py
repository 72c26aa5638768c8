"""Options from environment variables: `HYSEG_PREDICT_TILE_SIZE` is `hyseg predict --tile-size`.

There is one variable for each option of each command. An option on the command line overrides it,
and it overrides `--config`. The names come from the flags, not from the names in our code.
"""

from __future__ import annotations

import os

import click

from hyseg_cli.errors import UsageProblemError

PREFIX = "HYSEG"


def flag_of(option: click.Option) -> str:
    """The long flag of an option, such as `--tile-size`."""
    return max(option.opts, key=len)


def variable_of(option: click.Option, prefix: str) -> str:
    """The variable that sets an option of the command whose variables begin with `prefix`."""
    return f"{prefix}_{flag_of(option).removeprefix('--').replace('-', '_').upper()}"


def take_variables(ctx: click.Context) -> None:
    """Let the environment set the options of the command of `ctx`.

    Raises:
        UsageProblemError: If a variable has the command's prefix but names none of its options.
    """
    prefix = ctx.auto_envvar_prefix
    if prefix is None:
        return
    known = set()
    for param in ctx.command.get_params(ctx):
        if isinstance(param, click.Option):
            param.allow_from_autoenv = False
            if param.name != "help":
                param.envvar = variable_of(param, prefix)
                known.add(param.envvar)
    if ctx.resilient_parsing:
        return  # the shell asks for completions; nothing is run
    for name in sorted(os.environ):
        if name.startswith(prefix + "_") and name not in known:
            raise UsageProblemError(
                f"the environment sets {name}, which is not an option of {ctx.command_path}",
                hint=f"Type `unset {name}`; `{ctx.command_path} --help` lists the options.",
            )
