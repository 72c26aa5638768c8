"""`hyseg completion` on the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from hyseg_cli.options import HysegCommand, print_result


@click.command(cls=HysegCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, *, shell: str) -> None:
    r"""Print what SHELL needs to complete commands, options and files after the Tab key.

    \b
      bash: eval "$(hyseg completion bash)"         in ~/.bashrc
      zsh:  eval "$(hyseg completion zsh)"          in ~/.zshrc, after compinit
      fish: hyseg completion fish | source          in ~/.config/fish/config.fish
    """
    made_for = get_completion_class(shell)
    if made_for is None:  # the choices above are click's own
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root()
    print_result(made_for(root.command, {}, "hyseg", "_HYSEG_COMPLETE").source())
