"""How the plugin finds hyseg and runs it; it needs no QGIS for that."""

from __future__ import annotations

import ast
import json
import sys
import threading
import time
from pathlib import Path

import pytest

import hyseg_cli
from hyseg_cli.qgis_plugin.program import ProgramMissingError, clean_environment, find_program
from hyseg_cli.qgis_plugin.running import Listener, RunCancelledError, RunFailedError, run

FAKE = Path(__file__).with_name("fake_hyseg.py")
PLUGIN = Path(hyseg_cli.__file__).parent / "qgis_plugin"


@pytest.fixture
def program(tmp_path):
    """A fake hyseg in an environment whose folder has spaces and umlauts."""
    path = tmp_path / "für Köln (2)" / "bin" / "hyseg"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """What the fake was called with."""
    path = tmp_path / "notes.jsonl"
    monkeypatch.setenv("FAKE_NOTES", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


class Hearing(Listener):
    def __init__(self, cancel_at=None):
        self.percents, self.notes, self.warnings = [], [], []
        self.cancel_at = cancel_at

    def advance(self, percent, text):
        self.percents.append(percent)

    def note(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)

    def is_cancelled(self):
        return self.cancel_at is not None and len(self.percents) >= self.cancel_at


# ---- the program ------------------------------------------------------------------------------


def test_the_setting_wins_over_the_variable_the_installation_and_the_path(program, tmp_path):
    other, installed = tmp_path / "other", tmp_path / "program.json"
    other.write_text("")
    other.chmod(0o755)
    installed.write_text(json.dumps({"command": [str(other), "-m", "hyseg_cli"]}))
    known = {"HYSEG": str(other), "PATH": str(program.parent)}
    assert find_program(str(program), known, installed) == [str(program)]
    assert find_program("", known, installed) == [str(other)]
    assert find_program("", {"PATH": known["PATH"]}, installed) == [str(other), "-m", "hyseg_cli"]
    assert find_program("", {"PATH": known["PATH"]}, tmp_path / "none") == [str(program)]


def test_the_setting_may_be_the_environment_that_holds_the_program(program):
    assert find_program(str(program.parents[1]), {}) == [str(program)]


@pytest.mark.parametrize("content", ["", "[]", '{"command": []}', '{"command": ["/none/hyseg"]}'])
def test_what_was_installed_and_is_gone_does_not_hide_the_path(program, tmp_path, content):
    installed = tmp_path / "program.json"
    installed.write_text(content)
    assert find_program("", {"PATH": str(program.parent)}, installed) == [str(program)]


@pytest.mark.parametrize("chosen", ["/none/hyseg", ""])
def test_a_program_that_is_missing_is_said_with_what_to_type(tmp_path, chosen):
    variables = {"PATH": "", "HYSEG": "" if chosen else str(tmp_path)}
    with pytest.raises(ProgramMissingError, match="hyseg qgis install") as caught:
        find_program(chosen, variables, tmp_path / "none")
    assert chosen in str(caught.value)


def test_what_leads_the_python_of_qgis_is_kept_from_hyseg():
    of_qgis = {"PYTHONHOME": "x", "PYTHONPATH": "x", "GDAL_DATA": "x", "PROJ_LIB": "x"}
    kept = {"PATH": "/bin", "HYSEG_MODELS": "/models", "PROJECT": "x"}
    found = clean_environment({**of_qgis, "PROJ_DATA": "x", **kept})
    assert found == {**kept, "PYTHONUTF8": "1"}


# ---- a run ------------------------------------------------------------------------------------


def test_a_log_becomes_progress_messages_and_a_result(program, notes):
    hearing = Hearing()
    told = run([str(program), "predict", "Straße 1.tif"], hearing)
    assert json.loads(told) == {"done": "predict"}
    assert hearing.percents == [25.0, 50.0, 75.0, 100.0]
    assert hearing.notes == ["a note: ä", "neither JSON nor a word of ours"]
    assert hearing.warnings == ["a doubt"]
    assert notes()[0]["words"] == ["predict", "Straße 1.tif", "--log-format", "json"]


def test_an_error_has_its_message_its_hint_and_its_code(program, notes, monkeypatch):
    monkeypatch.setenv("FAKE_DEED", "fail")
    with pytest.raises(RunFailedError, match="has 1 band") as caught:
        run([str(program), "predict"], Hearing())
    assert caught.value.hint == "Choose another model."
    assert caught.value.code == 4


def test_a_code_may_come_with_a_result(program, notes, monkeypatch):
    monkeypatch.setenv("FAKE_DEED", "fail")
    assert run([str(program), "info"], Hearing(), accepted=(0, 4)) == ""


def test_a_program_that_says_nothing_of_use_shows_what_it_said():
    script = "import sys; print('Traceback: it broke', file=sys.stderr); sys.exit(7)"
    with pytest.raises(RunFailedError, match=r"code 7.*it broke"):
        run([sys.executable, "-c", script], Hearing())


def test_a_file_that_is_no_program_fails_in_words(tmp_path):
    path = tmp_path / "hyseg"
    path.write_bytes(b"\x00")
    path.chmod(0o755)
    with pytest.raises(RunFailedError, match="cannot be started"):
        run([str(path)], Hearing())


def test_cancelling_asks_the_program_to_end_and_waits_for_it(program, notes, monkeypatch):
    monkeypatch.setenv("FAKE_DEED", "wait")
    hearing = Hearing(cancel_at=2)
    with pytest.raises(RunCancelledError):
        run([str(program), "predict"], hearing)
    assert hearing.warnings[-1] == "Terminated."


def test_a_program_that_does_not_end_is_killed(program, notes, monkeypatch):
    monkeypatch.setenv("FAKE_DEED", "stay")
    began = time.monotonic()
    with pytest.raises(RunCancelledError):
        run([str(program), "predict"], Hearing(cancel_at=1), seconds_to_end=0.3)
    assert time.monotonic() - began < 60


def test_much_on_both_streams_does_not_stop_a_run():
    """Pipes hold 64 KiB: who reads one to its end before the other waits for ever."""
    script = (
        "import sys\n"
        "for _ in range(3000):\n"
        "    print('x' * 99, file=sys.stderr)\n"
        "    print('y' * 99)\n"
    )
    told = run([sys.executable, "-c", script, "--"], Hearing())
    assert len(told) == 3000 * 100
    assert threading.active_count() < 20


# ---- what QGIS asks of a plugin ---------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PLUGIN.glob("*.py")), ids=lambda path: path.name)
def test_the_plugin_speaks_the_python_of_qgis_3_22_and_knows_nothing_of_hyseg(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    known = {*sys.stdlib_module_names, "qgis", "processing"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= known
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module.partition(".")[0] in known
        assert not isinstance(node, ast.Match)


def algorithms():
    """The classes of the plugin that QGIS shows, each with the bodies that it may take over."""
    classes = {
        node.name: node
        for path in PLUGIN.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    for node in classes.values():
        names = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if names & {"HysegAlgorithm", "_WithPage"} and not node.name.startswith("_"):
            parents = [classes[name] for name in names if name == "_WithPage"]
            yield node, [item for one in (node, *parents) for item in one.body]


def test_every_algorithm_says_what_its_form_and_its_command_are():
    found = list(algorithms())
    assert len(found) == 9
    for node, body in found:
        methods = {item.name for item in body if isinstance(item, ast.FunctionDef)}
        values = {item.targets[0].id for item in body if isinstance(item, ast.Assign)}
        assert {"add_parameters", "arguments"} <= methods, node.name
        assert {"NAME", "TITLE", "GROUP", "HELP", "COMMAND"} <= values, node.name
        # The name of a layer comes from a raster of the form, unless there is no layer to name.
        assert "NAMED_AFTER" in values or "results" in methods, node.name


def test_the_plugin_has_no_more_than_twelve_modules():
    assert len(list(PLUGIN.glob("*.py"))) <= 12
