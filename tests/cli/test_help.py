"""Help that can be read: options in groups, and examples that can be typed."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import COMMANDS, cli
from hyseg_cli.cli.help import COMMON, DAILY, EXAMPLES, MORE, SECTIONS, grouped


def command_called(name):
    return cli.get_command(click.Context(cli), name)


def every_command():
    for name in COMMANDS:
        command = command_called(name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {part}", found) for part, found in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize("name", SECTIONS)
def test_every_option_stands_under_one_heading(name):
    command = command_called(name)
    options = [p for p in command.get_params(click.Context(command)) if isinstance(p, click.Option)]
    listed = [word for names in SECTIONS[name].values() for word in names]
    assert len(listed) == len(set(listed))
    assert set(listed) <= {option.name for option in options}
    found = grouped(name, options)
    assert MORE not in found, [option.name for option in found[MORE]]
    assert sum(map(len, found.values())) == len(options)


@pytest.mark.parametrize("name", SECTIONS)
def test_help_begins_with_at_most_five_daily_options(name):
    told = CliRunner().invoke(cli, [name, "--help"], terminal_width=100).output
    assert told.index(f"{DAILY}:") < told.index(f"{COMMON}:")
    assert len(SECTIONS[name][DAILY]) <= 5
    for word in ("--help", "--quiet"):
        assert told.index(f"{COMMON}:") < told.index(word)


@pytest.mark.parametrize("name", [name for name, _ in every_command()])
def test_help_ends_with_two_examples_that_can_be_typed(name):
    told = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=100).output
    examples = EXAMPLES[name.split()[-1]]
    assert len(examples) == 2
    for line in examples:
        assert f"  {line}\n" in told
    if name == "completion":
        return
    command = dict(every_command())[name]
    for line in examples:
        words = shlex.split(line)[1 + len(name.split()) :]
        # Parsing alone: what is missing on the disk is not asked for here.
        command.make_context(name, words, resilient_parsing=False)
