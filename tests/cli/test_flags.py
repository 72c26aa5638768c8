"""Settings in messages, as Python and the command line name them."""

import ast
import re
from pathlib import Path

import click
import pytest

import hyseg_cli
from hyseg_cli.cli.flags import flag_writer

PACKAGE = Path(hyseg_cli.__file__).parent
BELOW = ("cluster", "geo", "learn", "sampling", "settings", "workflows")


@click.command()
@click.option("-b", "--band", "bands")
@click.option("--from", "start")
@click.option("--resume/--no-resume")
@click.option("--no-context", "context", is_flag=True)
def command():
    """A command."""


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("`tile_size` 100 is not valid", "--tile-size 100 is not valid"),
        ("Use `bands` 1,2,3.", "Use --band 1,2,3."),
        ("`start` and `resume` go together", "--from and --resume go together"),
        ("start over with `resume=False`", "start over with --no-resume"),
        ("leave out `context=False`", "leave out --no-context"),
        ("run `hyseg train --from MODEL`", "run `hyseg train --from MODEL`"),
        ("a.tif has a class `Wasser`", "a.tif has a class `Wasser`"),
    ],
)
def test_a_setting_is_written_as_its_flag(text, typed):
    assert flag_writer([command])(text) == typed


def texts_of(path):
    """What may be printed: strings outside docstrings, and not what stands in backticks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in loose:
            yield re.sub(r"`[^`]*`", "", node.value)


MEANT = {
    # Names in the state of a run, which must stay what they were.
    "pixels per 32 of the network (--gsd)",
    "columns of tiles (--max-memory)",
    # A command to be typed, on the page of a packed model.
    "hyseg predict scene.tif --model ",
    " --out map.tif",
}


@pytest.mark.parametrize("room", BELOW)
def test_flags_are_named_on_the_command_line_alone(room):
    flag = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    found = {
        (path.name, text)
        for path in (PACKAGE / room).rglob("*.py")
        for text in texts_of(path)
        if flag.search(text) and text not in MEANT
    }
    assert not found
