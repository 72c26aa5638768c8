"""The commands in the examples exist, with the options they use; pages are run elsewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest

from hyseg_cli.cli.group import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "examples").glob("*.sh"))


def commands_in(text):
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.match(r"\s*(hyseg [a-z-].*)$", line):
            yield match[1]


def commands():
    for page in PAGES:
        for line in commands_in(page.read_text(encoding="utf-8")):
            yield pytest.param(line, id=f"{page.name}: {line[:60]}")


def command_called(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"hyseg {name}"
    return command


def require_options(line):
    """Only what can be wrong without running: unknown options and missing values."""
    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("-"):
        return
    command = command_called(words[0])
    parser = command.make_parser(click.Context(command, info_name=words[0]))
    parser.parse_args(args=words[1:])


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_that_is_shown_can_be_typed(line):
    require_options(line)


def test_the_quickstart_settings_are_options_of_train():
    import tomllib

    known = {option for param in command_called("train").params for option in param.opts}
    values = tomllib.loads((ROOT / "examples" / "quickstart.toml").read_text(encoding="utf-8"))
    assert {f"--{key}" for key in values} <= known
