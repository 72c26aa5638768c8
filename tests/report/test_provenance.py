"""What a report tells of where it comes from."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.report.provenance import Provenance, changed_settings, describe_map
from hyseg_cli.settings.evaluate import EvaluateSettings


def test_settings_are_told_where_they_differ_from_the_defaults():
    settings = EvaluateSettings(
        maps=(Path("a.tif"), Path("b.tif")),
        reference=Path("r.tif"),
        patch_size=512,
        exclude=("road", "water"),
        report=Path("out.html"),
        overwrite=True,
    )
    assert changed_settings(settings) == (
        ("maps", "a.tif, b.tif"),
        ("reference", "r.tif"),
        ("exclude", "road, water"),
    )


def test_a_map_tells_what_made_it(write_map, classes):
    path = write_map(classes[0], "map.tif", HYSEG_MODEL="0123456789abcdef", HYSEG_INPUT="s.tif")
    assert dict(describe_map("Map", path).rows) == {
        "File": str(path),
        "Pixels": "360 x 300",
        "Place": "WGS 84 / UTM zone 32N, pixels of 0.5 m",
        "Its digest": "0123456789abcdef",
        "Made from": "s.tif",
    }


def test_a_report_names_the_model_and_falls_back_to_its_digest(write_map, classes):
    named = write_map(classes[0], "a.tif", HYSEG_MODEL="0123", HYSEG_MODEL_NAME="fields")
    older = write_map(classes[0], "b.tif", HYSEG_MODEL="4567")
    sources = tuple(describe_map(path.name, path) for path in (named, older, named))
    assert Provenance.of(EvaluateSettings(maps=(named,), reference=older), sources).models == (
        "fields",
        "4567",
    )
