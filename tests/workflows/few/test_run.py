"""`hyseg train` with a few polygons, from drawing to map."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from conftest import make_card, probe_config
from rasterio.transform import from_origin
from rasters import write_geotiff
from workflows.training import run

from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.weights import save_model
from hyseg_models import build
from hyseg_models.tokens.scaled import ScaledTokens

CRS = "EPSG:32640"
PLACE = from_origin(300_000, 2_780_000, 0.5, 0.5)
SIZE = 192
COLORS = {"water": (20, 40, 90), "land": (200, 180, 150), "wood": (40, 110, 40)}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def donor(tmp_path_factory, legend):
    """A model file with a tiny transformer of random weights."""
    torch.manual_seed(0)
    config = probe_config(classes=len(legend))
    path = tmp_path_factory.mktemp("donor") / "donor.safetensors"
    save_model(path, build(config), make_card(legend, config=config))
    return path


def scene_of(seed=0, names=tuple(COLORS)):
    """Three stripes, one for each class, with noise."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), SIZE // 3)[None].repeat(SIZE, 0)
    image = np.array([COLORS[name] for name in names])[truth] + rng.normal(0, 8, (SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8).transpose(2, 0, 1), truth


@pytest.fixture
def image(tmp_path):
    return write_geotiff(tmp_path / "scene.tif", scene_of()[0], crs=CRS, transform=PLACE)


def box(row, col, side=14):
    left, top = PLACE * (col, row)
    right, bottom = PLACE * (col + side, row + side)
    return shapely.box(left, bottom, right, top)


def write_polygons(path, classes, shapes, crs=CRS):
    gpd.GeoDataFrame({"kind": classes}, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.fixture
def polygons(tmp_path):
    """Three polygons of each class, one below the other."""
    names = [name for _ in range(3) for name in COLORS]
    shapes = [box(20 + 60 * turn, 25 + 64 * c) for turn in range(3) for c in range(3)]
    return write_polygons(tmp_path / "drawn.gpkg", names, shapes)


def train(image, labels, donor, out, *more):
    return run(
        "train", "--images", image, "--labels", labels, "--class-field", "kind",
        "--from", donor, "--out", out, "--overwrite", *more,
    )  # fmt: skip


def test_polygons_become_a_model_that_maps_the_scene(image, polygons, donor, tmp_path):
    model, out = tmp_path / "my.safetensors", tmp_path / "map.tif"
    done = train(image, polygons, donor, model)
    assert done.exit_code == 0, done.output
    assert "expect 100% of pixels to be right" in done.stdout
    mapped = run("predict", image, "--model", model, "--out", out)
    assert mapped.exit_code == 0, mapped.output
    with rasterio.open(out) as file:
        found = file.read(1)
    names = read_card(model).legend.names
    truth = np.array([names.index(name) for name in COLORS])[scene_of()[1]]
    assert (found == truth).mean() > 0.97


def test_the_model_is_one_file_that_other_commands_take(image, polygons, donor, tmp_path):
    model = tmp_path / "my.safetensors"
    assert train(image, polygons, donor, model).exit_code == 0
    told = run("info", model)
    assert told.exit_code == 0, told.output
    card = read_card(model)
    assert card.config.host.name == "probe"
    assert card.legend.names == ("land", "water", "wood")
    assert card.metrics["expected"]["of"] == "polygons that were left out"
    again = train(image, polygons, model, tmp_path / "second.safetensors")
    assert again.exit_code == 0, again.output


@pytest.fixture
def computing_fails(monkeypatch):
    """A switch: from then on whoever lets a transformer run fails."""
    return lambda: monkeypatch.setattr(ScaledTokens, "_tokens", None)


def test_a_second_round_computes_no_feature_again(
    image, polygons, donor, tmp_path, computing_fails
):
    first = train(image, polygons, donor, tmp_path / "one.safetensors")
    assert first.exit_code == 0, first.output
    computing_fails()
    more = gpd.read_file(polygons)
    more.loc[len(more)] = ["wood", box(100, 150)]
    more.to_file(tmp_path / "more.gpkg")
    second = train(image, tmp_path / "more.gpkg", donor, tmp_path / "two.safetensors")
    assert second.exit_code == 0, second.output
    told = train(image, polygons, donor, tmp_path / "three.safetensors", "--dry-run")
    assert "1 tiles of 576 px, 1 of them kept" in told.stdout


def test_a_map_from_kept_features_is_the_one_without_them_byte_by_byte(
    polygons, donor, tmp_path, monkeypatch, computing_fails
):
    # On a grid that does not begin at the scene's corner, and larger than a tile.
    wide = np.tile(scene_of()[0], (1, 4, 4))[:, :650, :700]
    image = write_geotiff(tmp_path / "wide.tif", wide, crs=CRS, transform=PLACE)
    model = tmp_path / "my.safetensors"
    names, shapes = ["water", "land"] * 4, []
    for row in (20, 590):
        shapes += [box(row, 25), box(row, 89), box(row, 596), box(row, 660)]
    more = write_polygons(tmp_path / "all over.gpkg", names, shapes)
    assert train(image, more, donor, model).exit_code == 0
    assert len(list((tmp_path / "cache" / "hyseg" / "features").iterdir())) == 4
    maps = [tmp_path / name for name in ("kept.tif", "computed.tif")]
    with monkeypatch.context() as never:
        never.setattr(ScaledTokens, "_tokens", None)
        kept = run("predict", image, "--model", model, "--out", maps[0])
    assert kept.exit_code == 0, kept.output
    for path in (tmp_path / "cache" / "hyseg" / "features").iterdir():
        path.unlink()
    assert run("predict", image, "--model", model, "--out", maps[1]).exit_code == 0
    assert maps[0].read_bytes() == maps[1].read_bytes()
    computing_fails()
    looked = run(
        "suggest", image, "--model", model, "--labels", polygons, "--class-field", "kind",
        "--out", tmp_path / "next.gpkg",
    )  # fmt: skip
    assert looked.exit_code == 0, looked.output


def test_damaged_features_are_computed_again(image, polygons, donor, tmp_path):
    first = train(image, polygons, donor, tmp_path / "one.safetensors")
    assert first.exit_code == 0
    for kept in (tmp_path / "cache" / "hyseg" / "features").iterdir():
        kept.write_bytes(b"cut short")
    again = train(image, polygons, donor, tmp_path / "two.safetensors")
    assert again.exit_code == 0, again.output


def test_the_dry_run_explains_the_choice(image, polygons, donor, tmp_path):
    out = tmp_path / "my.safetensors"
    told = train(image, polygons, donor, out, "--dry-run")
    assert told.exit_code == 0, told.output
    assert "a linear head on a frozen test_vit: 9 polygons cover" in told.stdout
    assert "class water                3 polygons" in told.stdout
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--thorough"], "`thorough`"),
        (["--steps", "3"], "`steps`"),
        (["--freeze", "backbone"], "`freeze`"),
    ],
)
def test_what_only_the_whole_training_has_asks_for_it(
    image, polygons, donor, tmp_path, option, reason
):
    from hyseg_cli.settings.train import TrainSettings
    from hyseg_cli.workflows.few.rule import decide

    values = {"--thorough": {"thorough": True}, "--steps": {"steps": 3}}
    settings = TrainSettings(
        images=image, labels=polygons, class_field="kind", start=str(donor),
        out=tmp_path / "my.safetensors", **values.get(option[0], {"freeze": "backbone"}),
    )  # fmt: skip
    decision = decide(settings)
    assert not decision.is_quick
    assert reason in decision.reason


def test_polygons_over_much_of_the_scene_are_not_few(image, donor, tmp_path):
    from hyseg_cli.settings.train import TrainSettings
    from hyseg_cli.workflows.few.rule import decide

    labels = write_polygons(
        tmp_path / "large.gpkg", ["land", "wood"], [box(0, 0, 90), box(90, 90, 90)]
    )
    settings = TrainSettings(
        images=image, labels=labels, class_field="kind", start=str(donor),
        out=tmp_path / "my.safetensors",
    )  # fmt: skip
    decision = decide(settings)
    assert not decision.is_quick
    assert "cover 44%" in decision.reason


def test_a_model_without_a_transformer_cannot_be_probed(image, polygons, tiny_model, tmp_path):
    from hyseg_cli.settings.train import TrainSettings
    from hyseg_cli.workflows.few.rule import decide

    settings = TrainSettings(
        images=image, labels=polygons, class_field="kind", start=str(tiny_model),
        out=tmp_path / "my.safetensors",
    )  # fmt: skip
    assert "has no transformer" in decide(settings).reason
    asked = train(image, polygons, tiny_model, tmp_path / "my.safetensors", "--preset", "probe")
    assert asked.exit_code == 4
    assert "not a plain vision transformer" in asked.output


def test_two_classes_and_one_polygon_of_each_are_enough(image, donor, tmp_path):
    labels = write_polygons(tmp_path / "two.gpkg", ["yes", "no"], [box(20, 25), box(20, 90)])
    done = train(image, labels, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("a guess") == 4


def test_one_class_alone_is_refused(image, donor, tmp_path):
    labels = write_polygons(tmp_path / "one.gpkg", ["yes", "yes"], [box(20, 25), box(20, 90)])
    done = train(image, labels, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 2
    assert "one class only" in done.output


def test_polygons_over_nodata_are_left_out_and_reported(polygons, donor, tmp_path):
    pixels = scene_of()[0]
    pixels[:, :, 128:] = 0
    image = write_geotiff(tmp_path / "scene.tif", pixels, crs=CRS, transform=PLACE, nodata=0)
    done = train(image, polygons, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 0, done.output
    assert "3 polygons lie on pixels without data" in done.stderr
    assert "left out of the classes: wood" in done.stderr
    assert read_card(tmp_path / "my.safetensors").legend.names == ("land", "water")


def test_all_that_is_wrong_with_polygons_is_reported_and_the_rest_is_used(image, donor, tmp_path):
    left, bottom, right, top = box(20, 25).bounds
    middle = shapely.Point((left + right) / 2, (bottom + top) / 2)
    touching = shapely.Polygon(
        [(left, bottom), (right, bottom), middle, (right, top), (left, top), middle]
    )
    drawn = {
        "1 touches itself": ("1", touching),
        "2 good": ("2", box(20, 90)),
        "1 good": ("1", box(80, 25)),
        "2 empty": ("2", shapely.Polygon()),
        "3 outside": ("3", box(9000, 25)),
        "no class": (None, box(80, 90)),
        "1 under 2": ("1", box(140, 25)),
        "2 over 1": ("2", box(140, 32)),
    }
    labels = tmp_path / "drawn.gpkg"
    kinds, shapes = zip(*drawn.values(), strict=True)
    write_polygons(labels, kinds, list(shapes))
    done = train(image, labels, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 0, done.output
    for told in (
        "1 polygons touch or cross themselves and were mended",
        "1 polygons are empty",
        "1 polygons lie outside the scene",
        "1 polygons have no class of the legend",
        "2 polygons overlap polygons of another class",
        "left out of the classes: 3, without a usable polygon",
    ):
        assert told in done.stderr
    assert read_card(tmp_path / "my.safetensors").legend.names == ("1", "2")


def test_polygons_elsewhere_are_an_error_with_a_hint(image, donor, tmp_path):
    labels = write_polygons(tmp_path / "far.gpkg", ["yes", "no"], [box(9000, 25), box(9000, 90)])
    done = train(image, labels, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 2
    assert "no polygon of" in done.output
    assert not (tmp_path / "my.safetensors").exists()


def test_two_scenes_share_a_file_and_unlike_ones_are_named(donor, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    write_geotiff(folder / "a.tif", scene_of()[0], crs=CRS, transform=PLACE)
    dark = (255 - scene_of()[0]) // 4
    beside = from_origin(300_000 + SIZE * 0.5, 2_780_000, 0.5, 0.5)
    write_geotiff(folder / "b.tif", dark, crs=CRS, transform=beside)
    names = [*COLORS, *COLORS, *COLORS, *COLORS]
    shapes = [
        box(20 + 60 * (t % 2), 25 + 64 * c + SIZE * (t // 2)) for t in range(4) for c in range(3)
    ]
    labels = write_polygons(tmp_path / "both.gpkg", names, shapes)
    done = train(folder, labels, donor, tmp_path / "my.safetensors")
    assert done.exit_code == 0, done.output
    assert "looks unlike the other scenes" in done.stderr
    assert read_card(tmp_path / "my.safetensors").data.training_scenes == ("a", "b")


@pytest.mark.parametrize("bands", [1, 4])
def test_scenes_of_other_kinds_can_be_probed(polygons, donor, tmp_path, bands):
    pixels = scene_of()[0].astype(np.uint16) * 17
    pixels = np.concatenate([pixels, pixels])[:bands]
    image = write_geotiff(tmp_path / "scene.tif", pixels, crs=CRS, transform=PLACE)
    model, out = tmp_path / "my.safetensors", tmp_path / "map.tif"
    done = train(image, polygons, donor, model)
    assert done.exit_code == 0, done.output
    band = [] if bands == 1 else ["--band", "1,2,3"]
    mapped = run("predict", image, "--model", model, "--out", out, *band)
    assert mapped.exit_code == 0, mapped.output
