"""`hyseg check`: a whole installation passes, a broken part is named."""

from __future__ import annotations

import json
import sys

import pyproj
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.workflows.info import check


def test_this_installation_is_whole_and_says_what_it_is():
    result = CliRunner().invoke(cli, ["check", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["ok"]
    assert told["problems"] == []
    assert pyproj.proj_version_str in told["found"]["PROJ"]
    assert "torch " in told["found"]["packages"]


@pytest.mark.parametrize("part", ["_gdal", "_proj", "_torch", "_model"])
def test_a_broken_part_is_named_and_the_others_are_still_shown(monkeypatch, part):
    def fail():
        message = "no such library"
        raise OSError(message)

    monkeypatch.setattr(check, part, fail)
    result = CliRunner().invoke(cli, ["check"])
    assert result.exit_code == 5
    (line,) = [line for line in result.output.splitlines() if "PROBLEM" in line]
    assert "OSError: no such library" in line
    assert "scratch" in result.output


def test_a_torchvision_that_does_not_load_is_found_out(monkeypatch):
    """One that was built for another PyTorch has its version, and fails when it is imported."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (wrong,) = [finding for finding in check.run().findings if not finding.is_ok]
    assert wrong.name == "PyTorch"
    assert "torchvision" in wrong.text


def test_proj_that_reads_other_tables_is_found_out(monkeypatch):
    class Other:
        @staticmethod
        def from_crs(*_, **__):
            return Other

        @staticmethod
        def transform(x, y):
            return x, y

    monkeypatch.setattr(pyproj, "Transformer", Other)
    (wrong,) = [finding for finding in check.run().findings if not finding.is_ok]
    assert wrong.name == "PROJ"


def test_variables_that_lead_astray_are_shown(monkeypatch):
    monkeypatch.setenv("GDAL_DATA", "/elsewhere")
    assert "GDAL_DATA     /elsewhere" in check.run().to_text()
