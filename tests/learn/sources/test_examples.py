"""The sources in `examples/` fit the common legend, and the old classes follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyseg_cli.learn.scores.crosswalk import merge_classes
from hyseg_cli.learn.sources.mapping import match_classes, renamed
from hyseg_cli.legend import read_legend
from hyseg_cli.settings.source import read_sources

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted((EXAMPLES / "sources").rglob("*.toml"))
WITH_LEGENDS = [file for file in FILES if "points" not in file.stem]
COMMON = read_legend(EXAMPLES / "land_cover.legend.json")
FIVE = {"building", "land", "road", "vegetation", "water"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_source_says_what_may_be_done_with_it(file):
    [source] = read_sources([file], Path("data"))
    assert source.title
    assert source.licence
    assert source.attribution
    assert ("evaluation only" in source.licence) == (file.parent.name == "elsewhere")
    assert str(source.images).startswith("data/")


@pytest.mark.parametrize("file", WITH_LEGENDS, ids=lambda file: file.stem)
def test_a_source_fits_the_common_legend(file):
    [source] = read_sources([file], None)
    assert source.legend is not None
    match_classes(source.name, read_legend(source.legend), COMMON, source.rules)


def test_the_old_five_classes_follow_from_the_common_legend():
    merging = json.loads((EXAMPLES / "dubai.map-classes.json").read_text())
    merged, table = merge_classes(COMMON, merging)
    assert set(merged.names) == FIVE
    assert table[3] == table[4] != table[2]
    dubai = read_legend(EXAMPLES / "dubai.legend.json")
    assert set(dubai.names) == FIVE
    [source] = read_sources([EXAMPLES / "sources" / "dubai.toml"], None)
    found = match_classes("dubai", dubai, merged, renamed(source.rules, dubai, merging))
    assert all(len(allowed) == 1 for allowed in found.sets)
