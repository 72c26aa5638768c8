"""`hyseg completion` on the command line."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from hyseg_cli.cli.options import HysegCommand, print_result

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(cls=HysegCommand)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    """Print the script with which SHELL completes commands, options and files.

    \b
      bash: eval "$(hyseg completion bash)"         in ~/.bashrc
      zsh:  eval "$(hyseg completion zsh)"          in ~/.zshrc, after compinit
      fish: hyseg completion fish | source          in ~/.config/fish/config.fish
    """  # noqa: D301 - click looks for the character, not for its name
    script = SHELLS[shell](ctx.find_root().command, {}, "hyseg", "_HYSEG_COMPLETE")
    print_result(script.source())
