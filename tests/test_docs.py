"""The commands shown in README and in the examples exist, with the options they use."""

import re
import shlex
from pathlib import Path

import click
import pytest

from hyseg_cli.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.sh"))]


def commands():
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if match := re.match(r"\s*(hyseg [a-z-].*)$", line):
                yield pytest.param(match[1], id=f"{page.name}: {match[1][:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_that_is_shown_can_be_typed(line):
    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("-"):
        return
    command = cli.commands[words[0]]
    # Only what can be wrong without running: unknown options and missing values.
    parser = command.make_parser(click.Context(command, info_name=words[0]))
    parser.parse_args(args=words[1:])


def test_the_readme_lists_the_exit_codes_of_the_help():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    in_readme, in_help = (
        re.findall(r"(\d+) \w", re.search(r"Exit codes: .*?interrupted", text, re.DOTALL)[0])
        for text in (readme, cli.epilog)
    )
    assert in_readme == in_help


def test_the_quickstart_settings_are_options_of_train():
    import tomllib

    known = {option for param in cli.commands["train"].params for option in param.opts}
    values = tomllib.loads((ROOT / "examples" / "quickstart.toml").read_text(encoding="utf-8"))
    assert {f"--{key}" for key in values} <= known
