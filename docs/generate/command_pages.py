"""Pages about commands, made from the commands themselves: Markdown for the site."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from hyseg_cli.cli.environment import PREFIX, flag_of, variable_of
from hyseg_cli.cli.group import cli


def all_commands() -> Iterator[tuple[click.Context, click.Command]]:
    """Each command that can be typed, in order of its name, with a context that knows its name."""
    root = click.Context(cli, info_name="hyseg", auto_envvar_prefix=PREFIX)
    yield from _below(root, cli)


def _below(
    parent: click.Context, group: click.Group
) -> Iterator[tuple[click.Context, click.Command]]:
    for name in sorted(group.list_commands(parent)):
        command = group.get_command(parent, name)
        if command is None:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _below(context, command)
        else:
            yield context, command


def page_name(context: click.Context) -> str:
    """The file of a command's page, such as `predict.md`."""
    return context.command_path.removeprefix("hyseg ").replace(" ", "-") + ".md"


def options_of(context: click.Context, command: click.Command) -> list[click.Option]:
    """The options of a command in the order of its help."""
    return [param for param in command.get_params(context) if isinstance(param, click.Option)]


def described(context: click.Context, option: click.Option) -> tuple[str, str]:
    """The flags of an option with what they take, and its help, default and all."""
    record = option.get_help_record(context)
    flags, text = record or (", ".join(option.opts), option.help or "")
    return flags, re.sub(r"\s+", " ", text)


def variable(context: click.Context, option: click.Option) -> str:
    """The environment variable of an option; empty for `--help`."""
    if option.name == "help" or context.auto_envvar_prefix is None:
        return ""
    return variable_of(option, context.auto_envvar_prefix)


def usage(context: click.Context, command: click.Command) -> str:
    """How a command is typed."""
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def paragraphs(text: str) -> Iterator[tuple[bool, str]]:
    """The paragraphs of a help text; first whether it stands as it is, then the text."""
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        if part.startswith("\b"):
            yield True, part.removeprefix("\b").strip("\n")
        else:
            yield False, re.sub(r"\s+", " ", part).strip()


def command_page(context: click.Context, command: click.Command) -> str:
    """The page of a command: what it does, how it is typed, each option."""
    lines = [f"# {context.command_path}", ""]
    for is_verbatim, text in paragraphs(command.help or ""):
        lines += ["```text", text, "```", ""] if is_verbatim else [_literal(text), ""]
    lines += ["```text", usage(context, command), "```", "", "## Options", ""]
    for option in options_of(context, command):
        flags, text = described(context, option)
        name = flag_of(option).removeprefix("--")
        lines += [f"### `{flags}` {{ #{name} }}", "", _literal(text), ""]
        if variable_name := variable(context, option):
            lines += [f"Variable: `{variable_name}`", ""]
    return "\n".join(lines)


def _literal(text: str) -> str:
    """A text of the help in Markdown: signs that would mean something stand for themselves."""
    escaped = re.sub(r"([\\*_<>\[\]|#{}])", r"\\\1", text)
    return re.sub(r"`([^`]*)`", lambda code: re.sub(r"\\(.)", r"\1", code[0]), escaped)
