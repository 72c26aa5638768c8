"""Where the paths of a source begin, and a source that starts from another's file."""

import pytest

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.source import read_sources

CITY = """
images = "city/images"
labels = "./drawn"
legend = "city.json"
share = 0.3
[classes]
land = "bare ground"
"""


@pytest.fixture
def file(tmp_path):
    folder = tmp_path / "plans" / "sources"
    folder.mkdir(parents=True)
    (folder / "city.toml").write_text(CITY)
    return folder / "city.toml"


def test_paths_begin_at_the_root_or_with_a_dot_at_the_file(file, tmp_path):
    [source] = read_sources([f"town={file}"], tmp_path / "data")
    assert source.name == "town"
    assert source.images == tmp_path / "data" / "city" / "images"
    assert source.labels == file.parent / "drawn"
    assert source.legend == file.parent / "city.json"


def test_a_table_changes_what_the_file_that_it_starts_from_says(file, tmp_path):
    table = {
        "name": "infrared",
        "folder": tmp_path / "plans",
        "file": "sources/city.toml",
        "share": 0.1,
        "band-names": ["green", "blue", "none", "red"],
        "legend": "other.json",
    }
    plain, changed = read_sources([file, table], tmp_path / "data")
    assert (plain.name, changed.name) == ("city", "infrared")
    assert changed.share == 0.1
    assert changed.band_names == ("green", "blue", "none", "red")
    assert changed.legend == tmp_path / "plans" / "other.json"
    assert (changed.images, changed.labels, changed.classes) == (
        plain.images,
        plain.labels,
        plain.classes,
    )


def test_a_table_cannot_start_from_a_file_that_is_missing(file, tmp_path):
    table = {"name": "town", "folder": tmp_path, "file": "city.toml"}
    with pytest.raises(UsageProblemError, match="no such file") as raised:
        read_sources([table], None)
    assert raised.value.hint
