"""Folders with one vector file for each image, by name or in SpaceNet's layout."""

import geopandas as gpd
import pytest
from shapely.geometry import box

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.data.legends import legend_of_labels
from hyseg_cli.learn.data.pairs import find_pairs


def write_labels(path, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    gpd.GeoDataFrame({"class": [name]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(path)


def write_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"II*\0")


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_vector_file_of_the_name_of_an_image_labels_it(tmp_path, suffix):
    write_images(tmp_path / "images", "a.tif", "b.tif", "alone.tif")
    for name in ("a", "b"):
        write_labels(tmp_path / "labels" / f"{name}{suffix}", name)
    pairs = find_pairs(tmp_path / "images", tmp_path / "labels")
    assert [(pair.image.stem, pair.labels[0].stem) for pair in pairs] == [("a", "a"), ("b", "b")]


def test_the_layout_of_spacenet_is_read(tmp_path):
    images = tmp_path / "RGB-PanSharpen"
    write_images(images, *(f"RGB-PanSharpen_AOI_2_Vegas_img{n}.tif" for n in (1, 11, 2)))
    labels = tmp_path / "geojson" / "buildings"
    for number in (1, 2, 11):
        write_labels(labels / f"buildings_AOI_2_Vegas_img{number}.geojson", "building")
    pairs = find_pairs(images, tmp_path / "geojson")
    assert len(pairs) == 3
    for pair in pairs:
        assert pair.image.stem.rpartition("_")[2] == pair.labels[0].stem.rpartition("_")[2]


def test_the_legend_has_the_classes_of_all_files(tmp_path):
    for name in ("road", "tree"):
        write_labels(tmp_path / f"{name}.geojson", name)
    legend = legend_of_labels([tmp_path / "road.geojson", tmp_path / "tree.geojson"], "class")
    assert legend.names == ("road", "tree")


def test_a_format_that_is_not_read_is_named_with_those_that_are(tmp_path):
    write_images(tmp_path / "images", "a.tif")
    (tmp_path / "labels.kml").write_text("<kml/>")
    with pytest.raises(UsageProblemError, match="kml") as caught:
        find_pairs(tmp_path / "images", tmp_path / "labels.kml")
    assert "GeoParquet" in caught.value.hint
