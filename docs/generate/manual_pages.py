"""Man pages of all commands: `python docs/generate/manual_pages.py FOLDER`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from command_pages import all_commands, described, options_of, paragraphs, usage, variable

from hyseg_cli import __version__
from hyseg_cli.cli.group import cli


def manual_page(context: click.Context, command: click.Command) -> str:
    """The page of one command, in the macros of man(7)."""
    name = context.command_path.replace(" ", "-")
    lines = [*_head(name, (command.help or "").split(". ")[0].split("\n\n")[0].rstrip("."))]
    lines += [".SH SYNOPSIS", _roff(usage(context, command)), ".SH DESCRIPTION"]
    lines += _body(command.help or "")
    lines.append(".SH OPTIONS")
    for option in options_of(context, command):
        flags, text = described(context, option)
        lines += [".TP", rf"\fB{_roff(flags)}\fR", _roff(text)]
    lines.append(".SH ENVIRONMENT")
    for option in options_of(context, command):
        if variable_name := variable(context, option):
            lines += [".TP", rf"\fB{variable_name}\fR", _roff(f"As {option.opts[-1]}.")]
    return "\n".join([*lines, *_tail()])


def overview() -> str:
    """The page of `hyseg` itself."""
    lines = [*_head("hyseg", "land-cover maps and polygons from large images")]
    lines += [".SH SYNOPSIS", r"hyseg COMMAND [OPTIONS] ...", ".SH DESCRIPTION"]
    lines += _body(cli.help or "")
    lines.append(".SH COMMANDS")
    for context, command in all_commands():
        lines += [".TP", rf"\fB{_roff(context.command_path)}\fR"]
        lines.append(_roff(command.get_short_help_str(200)))
    return "\n".join([*lines, *_tail()])


def write_manual(folder: Path) -> list[Path]:
    """Write all pages to a folder, made if it is missing; their files."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"hyseg": overview()}
    for context, command in all_commands():
        pages[context.command_path.replace(" ", "-")] = manual_page(context, command)
    files = []
    for name, text in pages.items():
        files.append(folder / f"{name}.1")
        files[-1].write_text(text + "\n", encoding="utf-8")
    return files


def _head(name: str, purpose: str) -> list[str]:
    title = f'.TH {name.upper()} 1 "" "hyseg {__version__}" "hyseg"'
    words = re.sub(r"\s+", " ", purpose)
    return [title, ".SH NAME", rf"{_roff(name)} \- {_roff(words)}"]


def _tail() -> list[str]:
    codes = re.sub(r"\s+", " ", (cli.epilog or "").removeprefix("Exit codes: "))
    return [".SH EXIT STATUS", _roff(codes)]


def _body(text: str) -> list[str]:
    lines = []
    for is_verbatim, part in paragraphs(text):
        rows = [_roff(row) for row in part.split("\n")]
        lines += [".PP", ".nf", *rows, ".fi"] if is_verbatim else [".PP", *rows]
    return lines


def _roff(text: str) -> str:
    """A text whose signs stand for themselves."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^(\s*)([.'])", r"\1\\&\2", escaped)


if __name__ == "__main__":
    for file in write_manual(Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")):
        sys.stdout.write(f"{file}\n")
