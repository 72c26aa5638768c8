"""What runs tell while they work: lines, a bar, or JSON."""

from __future__ import annotations

import json
from datetime import datetime

import click
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.exit import show_warning
from hyseg_cli.cli.group import COMMANDS, cli
from hyseg_cli.messages import Console


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr("hyseg_cli.messages.monotonic", lambda: now[0])
    return now


def test_mapping_tells_megapixels_their_speed_and_the_time_left(clock, capsys):
    """40 Mpx were there before; 80 take 20 s, so 280 take 70 s."""
    with Console() as messages:
        messages.advance("mapping x.tif", 40_000_000, 400_000_000, unit="px")
        clock[0] += 20
        messages.advance("mapping x.tif", 120_000_000, 400_000_000, unit="px")
        clock[0] += 80
        messages.advance("mapping x.tif", 400_000_000, 400_000_000, unit="px")
    assert capsys.readouterr().err.splitlines() == [
        "mapping x.tif: 120 of 400 Mpx, 4 Mpx/s, 70 s left",
        "mapping x.tif: 400 of 400 Mpx, 3.6 Mpx/s",
    ]


def test_other_tasks_tell_their_numbers(clock, capsys):
    with Console() as messages:
        messages.advance("comparing", 0, 10)
        clock[0] += 600
        messages.advance("comparing", 5, 10)
    assert capsys.readouterr().err == "comparing: 5 of 10, 10 min left\n"


@pytest.mark.parametrize(("log_format", "lines"), [("text", 2), ("json", 10)])
def test_a_log_of_json_tells_progress_each_second_and_text_each_ten(
    clock, capsys, log_format, lines
):
    with Console(log_format=log_format) as report:
        for second in range(21):
            report.advance("comparing", second, 40)
            clock[0] += 0.5 if log_format == "json" else 1
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_a_log_of_json_is_an_object_on_each_line(clock, capsys):
    with Console(log_format="json") as messages:
        messages.note("a note")
        messages.warn("a name that is no text: \udce9")
        messages.advance("comparing", 0, 10)
        clock[0] += 20
        messages.advance("comparing", 10, 10)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "info"]
    assert lines[0]["message"] == "a note"
    assert [lines[2][key] for key in ("task", "done", "total")] == ["comparing", 10, 10]
    for line in lines:
        assert datetime.fromisoformat(line["time"]).utcoffset().total_seconds() == 0


def test_a_bar_on_a_terminal_tells_the_speed(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Console() as messages:
        messages.advance("mapping x.tif", 10_000_000, 40_000_000, unit="px")
        clock[0] += 4
        messages.advance("mapping x.tif", 20_000_000, 40_000_000, unit="px")
    told = capsys.readouterr().err
    assert "mapping x.tif" in told
    assert "2.5 Mpx/s" in told
    assert " 50%" in told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["predict", "none.tif", "--out", "map.tif"], 2),
        (["vectorize", "none.tif", "--out", "map.gpkg"], 2),
        (["evaluate", "none.tif", "--reference", "none.tif"], 2),
        (["predict", "none.tif"], 2),  # click's own: --out is missing
    ],
)
def test_an_error_in_a_log_of_json_is_one_object(words, code):
    result = CliRunner().invoke(cli, [*words, "--log-format", "json"])
    assert result.exit_code == code
    told = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["level"] for line in told] == ["error"]
    assert told[0]["message"]
    assert told[0]["hint"]
    assert result.stdout == ""


def test_every_command_has_the_format_of_the_log():
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    for command in commands:
        if isinstance(command, click.Group):
            commands += command.commands.values()
        else:
            assert "--log-format" in {name for param in command.params for name in param.opts}


def test_what_a_library_warns_of_is_one_line_in_the_format_of_the_log(capsys):
    warning = RuntimeWarning("two\nlines"), RuntimeWarning, "library.py", 7
    show_warning(*warning)
    assert capsys.readouterr().err == "Warning: two lines\n"
    with click.Context(cli) as context:
        context.meta["log_format"] = "json"
        show_warning(*warning)
    found = json.loads(capsys.readouterr().err)
    assert (found["level"], found["message"]) == ("warning", "two lines")
