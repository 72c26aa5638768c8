"""Each benchmark on a small tree in its published layout and coding."""

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import from_origin

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.benchmarks import (
    BENCHMARKS,
    POTSDAM_TILES,
    UAVID_SEQUENCES,
    VAIHINGEN_TILES,
)
from hyseg_cli.learn.data.labelled_scene import open_pairs

SIDE = 16
WHOLE = Window(0, 0, SIDE, SIDE)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def painted(colors):
    """Columns of one colour each."""
    columns = np.arange(SIDE) % len(colors)
    return np.broadcast_to(np.array(colors, np.uint8)[columns], (SIDE, SIDE, 3))


def expected(count, unlabelled=()):
    channels = np.arange(SIDE) % count
    return np.where(np.isin(channels, unlabelled), 255, channels)


def picture():
    return np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3))


def open_split(name, root, split):
    benchmark = BENCHMARKS[name]
    pairs = benchmark.find(root, split)
    return pairs, open_pairs(pairs, benchmark.coding)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_coding_and_legend_list_the_same_classes(name):
    benchmark = BENCHMARKS[name]
    assert benchmark.coding.names == benchmark.legend.names
    assert benchmark.legend.ids == tuple(range(len(benchmark.legend)))


def test_loveda_counts_from_one_and_zero_is_unlabelled(tmp_path):
    for split in ("Train", "Val"):
        for area, number in (("Urban", 1366), ("Rural", 0)):
            save(tmp_path / split / area / "images_png" / f"{number}.png", picture())
            raw = np.broadcast_to(np.arange(SIDE) % 8, (SIDE, SIDE))
            save(tmp_path / split / area / "masks_png" / f"{number}.png", raw)
    pairs, scenes = open_split("loveda", tmp_path, "train")
    assert [pair.scene for pair in pairs] == ["Urban/1366", "Rural/0"]
    raw = np.arange(SIDE) % 8
    for scene in scenes:
        labels = scene.read(WHOLE).labels
        np.testing.assert_array_equal(labels[0], np.where(raw == 0, 255, raw - 1))
    names = BENCHMARKS["loveda"].legend.names
    assert names[0] == "background"
    assert names[6] == "agriculture"


def test_uavid_knows_its_sequences_and_black_is_clutter(tmp_path):
    legend = BENCHMARKS["uavid"].legend
    for split, numbers in UAVID_SEQUENCES.items():
        for number in numbers:
            folder = tmp_path / f"uavid_{split}" / f"seq{number}"
            save(folder / "Images" / "000000.png", picture())
            if split != "test":
                save(folder / "Labels" / "000000.png", painted([c.color for c in legend.classes]))
    sizes = {split: len(open_split("uavid", tmp_path, split)[0]) for split in ("train", "val")}
    assert sizes == {"train": 20, "val": 7}
    assert sorted(n for numbers in UAVID_SEQUENCES.values() for n in numbers) == list(range(1, 43))
    _, scenes = open_split("uavid", tmp_path, "val")
    np.testing.assert_array_equal(scenes[0].read(WHOLE).labels[0], expected(8))
    assert legend.names[7] == "clutter"
    with pytest.raises(UsageProblemError, match=r"Labels/000000\.png"):
        BENCHMARKS["uavid"].find(tmp_path, "test")


ISPRS_COLORS = [
    (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0),
]  # fmt: skip


def write_tif(write_raster, path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = from_origin(366_676, 5_807_462, 0.05, 0.05)
    write_raster(
        np.moveaxis(array, -1, 0).astype(np.uint8), path, crs="EPSG:32633", transform=place
    )


def test_potsdam_leaves_out_the_wrong_tile_and_the_boundaries(tmp_path, write_raster):
    tiles = [tile for split in POTSDAM_TILES.values() for tile in split]
    assert len(tiles) == len(set(tiles)) == 37
    assert "7_10" not in tiles
    for tile in [*tiles, "7_10"]:
        name = f"top_potsdam_{tile}"
        write_tif(write_raster, tmp_path / "2_Ortho_RGB" / f"{name}_RGB.tif", picture())
        save(tmp_path / "5_Labels_all" / f"{name}_label.tif", painted(ISPRS_COLORS))
        eroded = painted([*ISPRS_COLORS, (0, 0, 0)])
        save(tmp_path / "5_Labels_all_noBoundary" / f"{name}_label_noBoundary.tif", eroded)
    sizes = {split: len(BENCHMARKS["potsdam"].find(tmp_path, split)) for split in POTSDAM_TILES}
    assert sizes == {"train": 22, "val": 1, "test": 14}
    _, scenes = open_split("potsdam", tmp_path, "val")
    np.testing.assert_array_equal(scenes[0].read(WHOLE).labels[0], expected(6))
    _, scenes = open_split("potsdam", tmp_path, "test")
    np.testing.assert_array_equal(scenes[0].read(WHOLE).labels[0], expected(7, unlabelled=[6]))


def test_vaihingen_finds_labels_of_the_same_name(tmp_path, write_raster):
    for number in [n for split in VAIHINGEN_TILES.values() for n in split]:
        name = f"top_mosaic_09cm_area{number}"
        write_tif(write_raster, tmp_path / "top" / f"{name}.tif", picture())
        save(tmp_path / "gts_for_participants" / f"{name}.tif", painted(ISPRS_COLORS))
        eroded = painted([*ISPRS_COLORS, (0, 0, 0)])
        save(tmp_path / "ground_truth_eroded_COMPLETE" / f"{name}_noBoundary.tif", eroded)
    sizes = {split: len(BENCHMARKS["vaihingen"].find(tmp_path, split)) for split in VAIHINGEN_TILES}
    assert sizes == {"train": 15, "val": 1, "test": 17}
    pairs, scenes = open_split("vaihingen", tmp_path, "train")
    assert all(pair.image.parent.name == "top" for pair in pairs)
    assert all(pair.labels[0].parent.name == "gts_for_participants" for pair in pairs)
    np.testing.assert_array_equal(scenes[0].read(WHOLE).labels[0], expected(6))
    _, scenes = open_split("vaihingen", tmp_path, "test")
    np.testing.assert_array_equal(scenes[0].read(WHOLE).labels[0], expected(7, unlabelled=[6]))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_says_what_is_missing(tmp_path, name):
    with pytest.raises(UsageProblemError, match=r"has no .*(png|tif)"):
        BENCHMARKS[name].find(tmp_path, "train")


def test_a_colour_that_the_benchmark_does_not_have_is_told(tmp_path):
    folder = tmp_path / "uavid_train" / "seq1"
    save(folder / "Images" / "000000.png", picture())
    save(folder / "Labels" / "000000.png", painted([(1, 2, 3)]))
    with pytest.raises(HysegError, match="#010203 is not in the legend"):
        open_split("uavid", tmp_path, "train")
