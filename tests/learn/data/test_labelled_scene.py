import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from hyseg_cli.errors import HysegError, ModelMismatchError, UsageProblemError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.legends import legend_of_labels
from hyseg_cli.learn.data.pairs import find_pairs, images_without
from hyseg_cli.learn.data.statistics import count_scene, sample_share, survey
from hyseg_cli.learn.model.card import LEVELS
from hyseg_cli.legend import Legend

LEGEND = Legend.from_dict(
    {
        "classes": [
            {"id": 0, "name": "land", "color": "#8429f6"},
            {"id": 1, "name": "water", "color": "#e2a929"},
        ],
        "ignore": ["#000000"],
    }
)


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("images", "labels", "files", "expected"),
    [
        ("i", "l", ["i/a.tif", "i/b.tif", "l/a.tif", "l/b.tif"], {"a", "b"}),
        ("i", "l", ["i/a.jpg", "l/a_mask.png"], {"a"}),
        (
            ".",
            ".",
            ["t1/images/p.jpg", "t1/masks/p.png", "t2/images/p.jpg", "t2/masks/p.png"],
            {"t1", "t2"},
        ),
        (".", ".", ["images/a.tif", "labels/a.tif", "labels/b.tif"], {"a"}),
        ("i", "l", ["i/a.tif", "i/a.tfw", "l/a.tif"], {"a"}),
        ("x.tif", "y.png", ["x.tif", "y.png"], {"x"}),
    ],
)
def test_images_find_their_labels_by_name(tmp_path, images, labels, files, expected):
    touch(tmp_path, *files)
    pairs = find_pairs(tmp_path / images, tmp_path / labels)
    assert {pair.scene for pair in pairs} == expected
    assert all(pair.image not in pair.labels for pair in pairs)


def test_images_and_masks_may_lie_beside_each_other(tmp_path):
    touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png", "c.png")
    pairs = find_pairs(tmp_path, tmp_path)
    assert [(p.image.name, p.labels[0].name) for p in pairs] == [
        ("a.png", "a_mask.png"),
        ("b.png", "b_mask.png"),
    ]
    assert [path.name for path in images_without(pairs, tmp_path)] == ["c.png"]


def test_transparent_parts_of_a_drawing_are_unlabelled(tmp_path, picture_pair):
    picture_pair()
    drawn = np.zeros((20, 30, 4), np.uint8)
    drawn[:, :10] = (0x84, 0x29, 0xF6, 255)
    Image.fromarray(drawn).save(tmp_path / "masks" / "a.png")
    (scene,) = open_pairs(find_pairs(tmp_path, tmp_path), LEGEND)
    found = scene.read(Window(0, 0, 20, 30)).labels
    assert (found[:, :10] == 0).all()
    assert (found[:, 10:] == 255).all()


def test_parts_of_one_folder_are_one_scene(tmp_path):
    touch(tmp_path, *[f"t1/{kind}/p{i}.png" for kind in ("images", "masks") for i in range(9)])
    pairs = find_pairs(tmp_path, tmp_path)
    assert len(pairs) == 9
    assert {pair.scene for pair in pairs} == {"t1"}


def test_scenes_that_are_links_are_found(tmp_path):
    touch(tmp_path, *[f"disk/{scene}/{kind}/p.png" for scene in "ab" for kind in ("img", "masks")])
    data = tmp_path / "data"
    data.mkdir()
    for scene in "ab":
        (data / scene).symlink_to(tmp_path / "disk" / scene)
    (data / "c").symlink_to(data)  # one that leads back ends there
    pairs = find_pairs(data, data)
    assert [pair.scene for pair in pairs] == ["a", "b"]
    assert [pair.labels for pair in pairs] == [(data / s / "masks" / "p.png",) for s in "ab"]


def test_nothing_that_matches_is_an_error(tmp_path):
    touch(tmp_path, "i/a.png", "l/b.png")
    with pytest.raises(UsageProblemError, match="of the same name"):
        find_pairs(tmp_path / "i", tmp_path / "l")
    with pytest.raises(UsageProblemError, match="no such"):
        find_pairs(tmp_path / "nowhere", tmp_path / "l")


@pytest.fixture
def picture_pair(tmp_path):
    def make(mode="RGB", size=(20, 30)):
        rng = np.random.default_rng(0)
        image = rng.integers(1, 255, (*size, 3), dtype=np.uint8)
        water = rng.integers(0, 2, size).astype(bool)
        colors = np.where(water[..., None], (0xE2, 0xA9, 0x29), (0x84, 0x29, 0xF6)).astype(np.uint8)
        colors[0, 0] = 0
        mask = Image.fromarray(colors)
        if mode == "P":
            mask = mask.quantize(8)
        if mode == "ids":
            ids = water.astype(np.uint8)
            ids[0, 0] = 255
            mask = Image.fromarray(ids)
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / "a.png")
        mask.save(tmp_path / "masks" / "a.png")
        expected = water.astype(np.uint8)
        expected[0, 0] = 255
        return image, expected

    return make


@pytest.mark.parametrize("mode", ["RGB", "P", "ids"])
def test_pictures_are_read_with_their_labels(tmp_path, picture_pair, mode):
    image, expected = picture_pair(mode)
    (scene,) = open_pairs(find_pairs(tmp_path, tmp_path), LEGEND)
    chip = scene.read(Window(2, 3, 10, 12))
    np.testing.assert_array_equal(chip.image, np.moveaxis(image, -1, 0)[:, 2:12, 3:15])
    whole = scene.read(Window(0, 0, 20, 30))
    np.testing.assert_array_equal(whole.labels, expected)
    assert whole.valid.all()


def test_windows_beyond_the_edge_reflect_image_and_labels_alike(tmp_path, picture_pair):
    image, expected = picture_pair()
    (scene,) = open_pairs(find_pairs(tmp_path, tmp_path), LEGEND)
    chip = scene.read(Window(-4, -4, 28, 38))
    np.testing.assert_array_equal(chip.labels, np.pad(expected, 4, mode="reflect"))
    np.testing.assert_array_equal(chip.image[0], np.pad(image[..., 0], 4, mode="reflect"))


def test_training_on_pictures_needs_neither_gdal_nor_torchgeo(tmp_path, picture_pair):
    picture_pair(size=(80, 90))
    (tmp_path / "legend.json").write_text(json.dumps(LEGEND.to_dict()))
    program = """
import sys
from pathlib import Path
for name in ("rasterio", "torchgeo", "geopandas", "pyogrio"):
    sys.modules[name] = None
from hyseg_cli.messages import Silence
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.run import run
folder = Path(sys.argv[1])
run(TrainSettings(images=folder, labels=folder, legend=folder / "legend.json",
    out=folder / "m.safetensors", preset="cpu_smoke", chip_size=64, prior_steps=1, steps=1,
    batch_size=2), Silence())
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True, timeout=240
    )
    assert (tmp_path / "m.safetensors").exists()


def test_georeferenced_scenes_read_the_same_as_the_arrays(scene_folder, legend):
    import rasterio

    pairs = find_pairs(scene_folder / "images", scene_folder / "labels")
    scenes = open_pairs(pairs, legend)
    assert [pair.scene for pair in pairs] == ["east", "west"]
    window = Window(30, 60, 90, 100)
    chip = scenes[0].read(window)
    with rasterio.open(scene_folder / "images/east.tif") as file:
        np.testing.assert_array_equal(chip.image, file.read()[:, 30:120, 60:160])
    with rasterio.open(scene_folder / "labels/east.tif") as file:
        np.testing.assert_array_equal(chip.labels, file.read(1)[30:120, 60:160])
    assert scenes[0].resolution_m == pytest.approx(0.5, rel=1e-3)


def test_labels_without_place_must_have_the_size_of_their_image(tmp_path, write_raster, legend):
    image = write_raster(np.zeros((3, 20, 20), np.uint8), "image.tif")
    smaller = tmp_path / "small.png"
    Image.fromarray(np.zeros((20, 19), np.uint8)).save(smaller)
    with pytest.raises(HysegError, match="20 x 19 pixels"):
        open_pairs(find_pairs(image, smaller), legend)


def test_scenes_of_different_kinds_are_not_mixed(tmp_path, write_raster, legend):
    labels = write_raster(np.zeros((1, 8, 8), np.uint8), "labels.tif")
    pairs = [
        *find_pairs(write_raster(np.zeros((3, 8, 8), np.uint8), "rgb.tif"), labels),
        *find_pairs(write_raster(np.zeros((5, 8, 8), np.uint8), "five.tif"), labels),
    ]
    with pytest.raises(ModelMismatchError, match="bands of uint8"):
        open_pairs(pairs, legend)


@pytest.fixture
def surveyed(write_raster, legend):
    """The survey of an image and its labels, and what it should count."""

    def make(array, **profile):
        array[:, :300, :9] = 0
        classes = np.random.default_rng(0).integers(0, 3, array.shape[1:]).astype(np.uint8)
        classes[650:] = 255
        image = write_raster(array, "image.tif", nodata=0, **profile)
        labels = write_raster(classes, "labels.tif")
        (scene,) = open_pairs(find_pairs(image, labels), legend)
        is_8_bit = array.dtype == np.uint8
        share = sample_share([scene])
        found = survey([count_scene(scene, len(legend), share)], is_8_bit=is_8_bit)
        valid = (array[0] != 0) & np.isfinite(array).all(axis=0)
        return found, array[:, valid].astype(float), classes[valid]

    return make


def test_the_survey_counts_all_valid_pixels(surveyed, legend):
    rng = np.random.default_rng(0)
    found, values, classes = surveyed(rng.integers(1, 255, (3, 700, 40)).astype(np.uint8))
    np.testing.assert_allclose(found.radiometry.mean, values.mean(axis=1))
    np.testing.assert_allclose(found.radiometry.std, values.std(axis=1))
    assert found.radiometry.limits is None
    for band, of_band in zip(found.quantiles, values, strict=True):
        np.testing.assert_allclose(band, np.quantile(of_band, LEVELS))  # all pixels are sampled
    counts = np.bincount(classes, minlength=256)[: len(legend)]
    assert found.labelled == tuple(counts.tolist())
    assert sum(found.shares) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_images_of_more_than_8_bits_are_cut_to_percentiles(surveyed, dtype):
    rng = np.random.default_rng(0)
    array = (rng.gamma(3.0, 400.0, (4, 700, 40)) + 1).astype(dtype)
    array[:, 400, 20] = 30_000  # a glint
    if dtype == np.float32:
        array[2, 500, 11] = np.nan
    if dtype == np.int16:
        array[:, 300:350] *= -1
    found, values, _ = surveyed(array)
    low, high = np.percentile(values, (0.5, 99.5), axis=1)
    np.testing.assert_allclose(found.radiometry.limits, (low, high), rtol=1e-6)
    cut = values.clip(low[:, None], high[:, None])
    np.testing.assert_allclose(found.radiometry.mean, cut.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.radiometry.std, cut.std(axis=1), rtol=1e-6)


def test_a_sample_of_a_large_scene_has_the_percentiles_of_the_whole():
    class Large:
        height, width, name, dtype, bands = 3000, 1000, "large", "uint16", 3

        def read(self, window):
            rng = np.random.default_rng(window.row)
            shape = (window.height, window.width)
            image = rng.normal(10_000, 1_000, (3, *shape)).astype(np.uint16)
            return Chip(image, np.ones(shape, bool), np.zeros(shape, np.uint8))

    share = sample_share([Large()])
    assert share == pytest.approx(1 / 6)
    found = survey([count_scene(Large(), 1, share)], is_8_bit=False).radiometry
    # The normal law: 99 % lie within 2.576 deviations.
    np.testing.assert_allclose(found.limits[0], 10_000 - 2_576, atol=40)
    np.testing.assert_allclose(found.limits[1], 10_000 + 2_576, atol=40)
    np.testing.assert_allclose(found.mean, 10_000, atol=10)


def test_labels_that_label_nothing_are_told(write_raster, legend):
    image = write_raster(np.zeros((3, 20, 20), np.uint8), "image.tif")
    labels = write_raster(np.full((20, 20), 255, np.uint8), "labels.tif")
    (scene,) = open_pairs(find_pairs(image, labels), legend)
    with pytest.raises(UsageProblemError, match="no pixel of the training scenes is labelled"):
        survey([count_scene(scene, len(legend))], is_8_bit=True)


def test_a_png_of_16_bits_is_read_in_all_of_them(tmp_path, legend):
    import rasterio

    image = np.random.default_rng(0).integers(0, 65536, (3, 40, 50)).astype(np.uint16)
    labels = np.random.default_rng(1).integers(0, 3, (1, 40, 50)).astype(np.uint8)
    for name, array in (("a.png", image), ("a_mask.png", labels)):
        count, height, width = array.shape
        profile = {"count": count, "height": height, "width": width, "dtype": array.dtype}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(tmp_path / name, "w", driver="PNG", **profile) as file:
                file.write(array)
    (scene,) = open_pairs(find_pairs(tmp_path, tmp_path), legend)
    chip = scene.read(Window(0, 0, 40, 50))
    assert scene.dtype == "uint16"
    np.testing.assert_array_equal(chip.image, image)
    np.testing.assert_array_equal(chip.labels, labels[0])


def test_the_palette_of_a_png_gives_the_classes_of_a_geotiff(tmp_path, write_raster):
    drawn = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    picture = Image.new("P", (50, 40))
    picture.putdata(drawn.ravel().tolist())
    picture.putpalette([0, 0, 0, 200, 30, 30, 30, 30, 200])
    picture.save(tmp_path / "labels.png")
    image = write_raster(np.zeros((3, 40, 50), np.uint8), "image.tif")
    pairs = find_pairs(image, tmp_path / "labels.png")
    legend = legend_of_labels(pairs[0].labels, "class")
    assert [entry.color for entry in legend.classes] == [(0, 0, 0), (30, 30, 200), (200, 30, 30)]
    (scene,) = open_pairs(pairs, legend)
    expected = np.array([0, 2, 1], np.uint8)[drawn]
    np.testing.assert_array_equal(scene.read(Window(0, 0, 40, 50)).labels, expected)
