"""Real images of many makes, each mapped by the bare command with the built-in model."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from conftest import make_card
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo.cogeo import cog_validate
from torch.nn.functional import one_hot

from hyseg_cli.api import load_model
from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import save_model
from hyseg_cli.legend import NODATA_ID
from hyseg_models import build

SCENES = {
    "netherlands": ("scene_netherlands_25cm/test_tiled.tif", []),
    "manila_white_areas": ("scenes_oam/5b90f92da0d7280005fab355_4310.tif", []),
    "spain_black_areas": ("scenes_oam/5c15321f63d9810007f8b06f_10_00000.tif", []),
    "south_africa_north_degrees": ("scenes_za_ngi/3320D_2010_315_RGB_LATLNG.tif", []),
    "south_africa_south_degrees": ("scenes_za_ngi/3420B_2010_328_RGB_LATLNG.tif", []),
    "bali_drone_rotated_footprint": ("scene_pix4d_drone/pix4d_alpha_nodata.tif", []),
    "dakota_four_bands_of_2014": (
        "scenes_naip_nd_4band/m_4709963_se_14_1_20140720.tif",
        ["--band", "1,2,3"],
    ),
    "dubai_jpeg_without_place": ("dubai/Tile 7/images/image_part_005.jpg", []),
}


COLLAR_SHARES = {"manila_white_areas": 0.185, "spain_black_areas": 0.258}
"""Part of a scene that lies outside of its image, counted as what is darker than 12 of 255 and
connected to the edge; nothing in the files declares it."""

NO_IMAGE = 4, "has 1 band (", "one band: elevation, near infrared or classes"
"""Exit code, words of the error, and why."""
SIXTEEN_BITS = 4, "was trained on uint8", "16-bit reflectance; scaling is not guessed"
MAPS = 0, "", "8-bit RGB"
PLACELESS = 0, "is not georeferenced", "a picture without a world file"

VERDICTS = {
    "awkward/rasterio/RGB.byte.tif": MAPS,
    "awkward/rasterio/RGBA.byte.tif": MAPS,
    "awkward/rasterio/rgb_deflate.tif": MAPS,
    "awkward/rasterio/rgb[1-4].tif": MAPS,
    "awkward/rasterio/rgb1_fake_nir_epsg3857.tif": NO_IMAGE,
    "awkward/rasterio/shade.tif": NO_IMAGE,
    "awkward/rio-tiler/cog.tif": NO_IMAGE,
    "awkward/rio-tiler/cog_dateline.tif": NO_IMAGE,
    "awkward/rio-tiler/cog_gcps.tif": NO_IMAGE,
    "awkward/rio-tiler/cog_nodata.tif": NO_IMAGE,
    "awkward/rio-tiler/cog_rgb.tif": MAPS,
    "awkward/rio-tiler/cog_rgba.tif": MAPS,
    "awkward/rio-tiler/hro_sources/colorado/*.tif": MAPS,
    "awkward/rio-tiler/rgb.tif": SIXTEEN_BITS,
    "awkward/rio-tiler/scene_band[12].tif": NO_IMAGE,
    "labels_*/*.tif": NO_IMAGE,
    "scene_netherlands_25cm/*.tif": MAPS,
    "scene_pix4d_drone/*.tif": MAPS,
    "scenes_naip_nd_4band/*.tif": (4, "--band 1,2,3", "four bands of no known color"),
    "scenes_oam/*.tif": MAPS,
    "scenes_za_ngi/*.tif": MAPS,
    "dubai/*/images/*.jpg": PLACELESS,
}
"""What becomes of every raster of `FOLDERS`, by the pattern of its path."""

FOLDERS = (
    "awkward",
    "labels_cdl",
    "labels_chesapeake",
    "labels_nlcd",
    "labels_worldcover",
    "scene_netherlands_25cm",
    "scene_pix4d_drone",
    "scenes_naip_nd_4band",
    "scenes_oam",
    "scenes_za_ngi",
)
"""Folders whose rasters stand for what users bring; the others are there to learn from."""


def open_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


QUICK = ("netherlands", "bali_drone_rotated_footprint", "dakota_four_bands_of_2014")
"""Scenes that are mapped in seconds; the others take minutes."""


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SCENES],
)
def test_a_real_scene_maps_in_one_command(shared, tmp_path, name):
    path, flags = SCENES[name]
    out = tmp_path / "landcover.tif"
    result = CliRunner().invoke(cli, ["predict", str(shared / path), "--out", str(out), *flags])
    assert result.exit_code == 0, result.output
    with open_quietly(shared / path) as scene, open_quietly(out) as found:
        assert found.shape == scene.shape
        assert found.crs == scene.crs
        assert found.transform == scene.transform
        assert found.nodata == 255
        assert found.dtypes == ("uint8",)
        classes = found.read(1)
        if name in COLLAR_SHARES:
            assert (classes == 255).mean() == pytest.approx(COLLAR_SHARES[name], abs=0.004)
        else:
            np.testing.assert_array_equal(classes == 255, scene.dataset_mask() == 0)
        legend = json.loads(found.tags()["HYSEG_LEGEND"])
        colors = found.colormap(1)
        is_placed = scene.crs is not None
    assert [c["name"] for c in legend["classes"]] == [
        "building",
        "road",
        "bare ground",
        "low vegetation",
        "trees",
        "water",
    ]
    for entry in legend["classes"]:
        assert "#{:02x}{:02x}{:02x}".format(*colors[entry["id"]][:3]) == entry["color"]
    # A map of one class would be a broken network, not a place on earth.
    assert len(np.unique(classes[classes != 255])) >= 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        valid, errors, _ = cog_validate(out)
    assert valid, errors
    polygons = tmp_path / "landcover.gpkg"
    flags = ["--smooth", "--simplify", "1.5px", "--mmu", "9px", "--json", "-q"]
    vectorized = CliRunner().invoke(cli, ["vectorize", str(out), "--out", str(polygons), *flags])
    assert vectorized.exit_code == 0, vectorized.output
    told = json.loads(vectorized.stdout)
    assert told["check"]["matched"]
    assert sum(entry["pixels"] for entry in told["classes"]) == (classes != 255).sum()
    about_place = [line for line in result.stderr.splitlines() if "not georeferenced" in line]
    assert len(about_place) == (0 if is_placed else 1)


def test_four_bands_without_colors_ask_which_they_are(shared, tmp_path):
    path = shared / SCENES["dakota_four_bands_of_2014"][0]
    result = CliRunner().invoke(cli, ["predict", str(path), "--out", str(tmp_path / "x.tif")])
    assert result.exit_code == 4
    assert "--band 1,2,3" in result.stderr
    assert list(tmp_path.iterdir()) == []


def paths_of(data, pattern):
    found = sorted(data.glob(pattern))
    assert found, f"nothing matches {pattern}"
    return found


def test_every_real_raster_has_its_verdict(shared):
    listed = [path for pattern in VERDICTS for path in paths_of(shared, pattern)]
    assert len(listed) == len(set(listed))
    rasters = {path for folder in FOLDERS for path in (shared / folder).rglob("*.tif")}
    assert set(listed) == rasters | set(shared.glob("dubai/*/images/*.jpg"))


@pytest.fixture
def brightness_model(tmp_path, legend, monkeypatch):
    """A model of any resolution that sorts pixels into five classes by their brightness."""
    path = tmp_path / "model" / "brightness.safetensors"
    path.parent.mkdir()
    card = make_card(legend, resolution_m=None)
    save_model(path, build(card.config), card)

    def classify(self, image, valid, origin):
        return one_hot(brightness(image.float().mean(dim=1)), 5).permute(0, 3, 1, 2).float()

    monkeypatch.setattr("hyseg_cli.learn.inference.predictor.Predictor.__call__", classify)
    return path


def brightness(mean):
    return (mean // 52).long()


@pytest.mark.parametrize("pattern", VERDICTS)
def test_a_real_raster_maps_or_is_refused_as_the_table_says(
    shared, tmp_path, brightness_model, pattern
):
    code, words, _ = VERDICTS[pattern]
    # One part of a Dubai scene is mapped; they are all of one kind.
    paths = paths_of(shared, pattern)[: 1 if pattern.startswith("dubai") else None]
    folder = tmp_path / "maps"
    folder.mkdir()
    for index, path in enumerate(paths):
        out = folder / f"{index}.tif"
        result = CliRunner().invoke(
            cli, ["predict", str(path), "--out", str(out), "-m", str(brightness_model)]
        )
        assert result.exit_code == code, result.output
        assert words in result.stderr
        if code == 0:
            require_right_map(path, out, read_card(brightness_model).legend)
        else:
            # Before it, one line names the model.
            lines = [line for line in result.stderr.splitlines() if not line.startswith("model ")]
            assert len(lines) == 2
            assert list(folder.iterdir()) == []


def require_right_map(path, out, legend):
    with open_quietly(path) as scene, open_quietly(out) as found:
        assert (found.shape, found.crs) == (scene.shape, scene.crs)
        assert found.transform == scene.transform
        classes, image = found.read(1), scene.read([1, 2, 3])
        is_declared_empty = scene.dataset_mask() == 0
    empty = classes == NODATA_ID
    if "scenes_oam" in str(path):  # undeclared collars
        assert 0.15 < empty.mean() < 0.3
        assert (image[:, empty] <= 8).all()
    else:
        np.testing.assert_array_equal(empty, is_declared_empty)
    expected = brightness(torch.from_numpy(image.astype(np.float32)).mean(dim=0))
    np.testing.assert_array_equal(classes[~empty], np.array(legend.ids)[expected.numpy()][~empty])


def test_the_built_in_model_is_small_and_says_what_it_is():
    assert find_model(None).stat().st_size <= 60e6
    card = read_card(find_model(None))
    for owner in ("Humans in the Loop / MBRSC", "USDA NAIP", "Ventura et al.", "Chesapeake"):
        assert owner in card.data.attribution
    assert card.data.licence
    natural = {name for name in card.data.training_scenes if "_false_colours/" not in name}
    assert len(natural) == 21
    assert len(card.data.training_scenes) == 21 + 16  # Dubai has no infrared
    assert set(card.data.validation_scenes) == {
        "dubai/Tile 2", "dubai/Tile 3", "ohio/strip 1", "ohio_false_colours/strip 1",
        *(
            f"california{labels}{colours}/{city}"
            for labels in ("", "_drawn")
            for colours in ("", "_false_colours")
            for city in ("long_beach", "palm_springs")
        ),
    }  # fmt: skip
    assert 0 < card.metrics["miou"] < 1
    assert card.training["settings"]["steps"] > 0


def test_the_built_in_model_maps_the_same_land_in_natural_and_in_false_colours(shared):
    model = load_model()
    # in the western third of Ohio, which was held out
    for name in ("tile_13477", "tile_14217", "tile_14218"):
        with rasterio.open(shared / f"ohio_naip_6class/test/img/{name}.tif") as file:
            bands, metres = file.read(), file.res[0]
        natural, false = (
            model.predict(image, resolution_m=metres).argmax(axis=0)
            for image in (bands[:3], bands[[3, 0, 1]])
        )
        assert len(np.unique(natural)) > 1
        assert (natural == false).mean() > 0.8, name


def dissimilarity(path, *flags):
    """What a dry run says of a scene, and whether it warns of it."""
    given = ["predict", str(path), "-o", "map.tif", "--dry-run", "--json", *flags]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert any("looks unlike" in text for text in found["warnings"]) == (found["dissimilarity"] > 1)
    return found["dissimilarity"]


@pytest.mark.parametrize("name", [name for name in SCENES if "dubai" not in name])
def test_scenes_of_other_continents_are_announced(shared, name):
    relative, flags = SCENES[name]
    assert dissimilarity(shared / relative, *flags) > 1


def test_scenes_of_published_data_that_the_model_maps_badly_are_announced(shared):
    scenes = [*(shared / "eval_loveda/images").iterdir(), *(shared / "eval_isprs/images").iterdir()]
    assert len(scenes) == 5
    assert min(dissimilarity(scene) for scene in scenes) > 1


def test_held_out_parts_of_known_places_are_not_announced(shared):
    parts = sorted((shared / "dubai").glob("Tile [23]/images/*.jpg"))[::4]
    chips = sorted((shared / "ohio_naip_6class/test/img").glob("tile_1[34]*.tif"))
    assert len(parts) >= 4
    assert len(chips) == 4
    assert max(map(dissimilarity, parts)) < 1
    assert np.median([dissimilarity(chip, "--band", "1,2,3") for chip in chips]) < 1
