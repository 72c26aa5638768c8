"""What goes when a raster is overwritten, and what only looks as if it should."""

from __future__ import annotations

import pytest

from hyseg_cli.geo.classes.styles import ClassStyle
from hyseg_cli.geo.classes.symbology import to_qml, to_raster_qml, to_raster_sld, to_sld
from hyseg_cli.geo.output.cog import put_in_place
from hyseg_cli.geo.suffixes import stale_files

STYLES = {0: ClassStyle("land", (1, 2, 3))}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "new.tif").write_text("new")
    (tmp_path / "map.tif").write_text("old")
    return tmp_path


def names(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_all_that_describes_the_old_raster_goes(folder):
    for suffix in (
        ".tif.aux.xml",
        ".tif.ovr",
        ".tif.msk",
        ".tif.vat.dbf",
        ".tif.stac.json",
        ".tfw",
    ):
        (folder / f"map{suffix}").write_text("old")
    (folder / "map.qml").write_text(to_raster_qml(STYLES))
    (folder / "map.sld").write_text(to_raster_sld(STYLES, "map"))
    put_in_place(folder / "work" / "new.tif", folder / "map.tif")
    assert names(folder) == {"map.tif"}
    assert (folder / "map.tif").read_text() == "new"


def test_styles_of_polygons_with_the_same_name_stay(folder):
    (folder / "map.qml").write_text(to_qml(STYLES))
    (folder / "map.sld").write_text(to_sld(STYLES, "map"))
    assert stale_files(folder / "map.tif") == []


def test_a_style_or_place_made_beforehand_stays(folder):
    (folder / "map.tif").unlink()
    (folder / "map.tfw").write_text("of map.tiff")
    (folder / "map.qml").write_text(to_raster_qml(STYLES))
    assert stale_files(folder / "map.tif") == []


def test_what_the_input_needs_stays_whatever_its_name(folder):
    world = folder / "map.tfw"
    world.write_text("of the scene")
    put_in_place(folder / "work" / "new.tif", folder / "map.tif", kept=[str(world)])
    assert world.read_text() == "of the scene"


def test_files_beside_replace_their_like(folder):
    (folder / "map.tif.aux.xml").write_text("old")
    beside = {folder / "map.tif.aux.xml": "names", folder / "map.qml": "style"}
    put_in_place(folder / "work" / "new.tif", folder / "map.tif", beside)
    assert names(folder) == {"map.tif", "map.tif.aux.xml", "map.qml"}
    assert (folder / "map.tif.aux.xml").read_text() == "names"
