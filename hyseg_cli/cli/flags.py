"""Names of settings in messages, written as the flags of the command that was typed.

What is below the command line names a setting as Python has it, in backticks: "`tile_size` 500 is
not a multiple of 64". A person who typed a command reads "--tile-size 500" instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import click

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)(=False)?`")


def flag_writer(commands: Iterable[click.Command]) -> Callable[[str], str]:
    """A function that turns the names of settings in a text into flags of these commands.

    A setting that none of them has is written the way most flags are: with dashes.
    """
    flags: dict[str, str] = {}
    refusals: dict[str, str] = {}
    for command in commands:
        for option in command.params:
            if isinstance(option, click.Option) and option.name:
                flags[option.name] = max(option.opts, key=len)
                refusals[option.name] = max([*option.secondary_opts, *option.opts], key=len)

    def write(found: re.Match[str]) -> str:
        name, is_refused = found.groups()
        dashed = name.replace("_", "-")
        if is_refused:
            return refusals.get(name, f"--no-{dashed}")
        return flags.get(name, f"--{dashed}")

    return lambda text: _SETTING.sub(write, text)


def as_typed(text: str) -> str:
    """A text with the flags of the running command."""
    context = click.get_current_context(silent=True)
    return flag_writer([context.command] if context else [])(text)
