"""`hyseg predict` from the command line, on good and bad input."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate
from safetensors.torch import save_file

from hyseg_cli.cli import cli
from hyseg_cli.learn.weights import load_model, save_model
from hyseg_cli.legend import Legend


def run(*arguments):
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


@pytest.fixture
def scene(scene_folder):
    return scene_folder / "images" / "east.tif"


def test_a_scene_becomes_a_map_on_its_grid(tmp_path, scene, tiny_model, legend):
    out = tmp_path / "map.tif"
    result = run(scene, "--out", out, "-m", tiny_model, "--tile-size", 128, "--batch-size", 2)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as found, rasterio.open(scene) as source:
        assert found.shape == source.shape
        assert found.crs == source.crs
        assert found.transform == source.transform
        classes = found.read(1)
        np.testing.assert_array_equal(classes == 255, source.dataset_mask() == 0)
        assert set(np.unique(classes)) <= {*legend.ids, 255}
        tags = found.tags()
    assert tags["HYSEG_MODEL"] == load_model(tiny_model).digest
    assert json.loads(tags["HYSEG_LEGEND"]) == legend.to_dict()
    assert json.loads(tags["HYSEG_SETTINGS"]) == {
        "bands": [1, 2, 3],
        "context": False,
        "bounds": None,
        "aoi": None,
        "tile_size": 128,
        "overlap": 32,
        "seed": 0,
        "noise": None,
        "tta": "none",
        "gsd": "auto",
        "collar": "auto",
        "src_nodata": [],
    }
    assert str(out) in result.stdout
    assert "nodata" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_stdout_holds_results_only(tmp_path, scene, tiny_model):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "-q")
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == str(tmp_path / "map.tif")


def test_the_same_run_gives_the_same_bytes(tmp_path, scene, tiny_model):
    for name in ("a.tif", "b.tif"):
        assert run(scene, "--out", tmp_path / name, "-m", tiny_model).exit_code == 0
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_map_that_exists_is_kept_unless_told_otherwise(tmp_path, scene, tiny_model):
    out = tmp_path / "map.tif"
    out.write_bytes(b"mine")
    result = run(scene, "--out", out, "-m", tiny_model)
    assert result.exit_code == 3
    assert out.read_bytes() == b"mine"
    assert "--overwrite" in result.stderr
    assert run(scene, "--out", out, "-m", tiny_model, "--overwrite").exit_code == 0
    assert out.read_bytes() != b"mine"


def test_class_values_are_those_of_the_legend(tmp_path, scene, tiny_model):
    model = load_model(tiny_model)
    moved = Legend(tuple(replace(c, id=10 * c.id + 7) for c in model.card.legend.classes))
    path = tmp_path / "moved.safetensors"
    save_model(path, model.network, replace(model.card, legend=moved))
    out = tmp_path / "map.tif"
    assert run(scene, "--out", out, "-m", tiny_model).exit_code == 0
    with rasterio.open(out) as file:
        before = file.read(1)
    assert run(scene, "--out", out, "-m", path, "--overwrite").exit_code == 0
    with rasterio.open(out) as file:
        after = file.read(1)
    np.testing.assert_array_equal(after, np.where(before == 255, 255, before * 10 + 7))


def test_a_scene_of_another_resolution_is_mapped_on_its_own_grid(tmp_path, scene, tiny_model):
    """The generated scene has pixels of 0.5 m; with 0.1 m the model, of 0.25 to 1 m, sees 0.25."""
    fine = tmp_path / "fine.tif"
    with rasterio.open(scene) as source:
        image, profile = source.read(), source.profile
        mask = source.dataset_mask()
    profile["transform"] = from_origin(5e5, 5.4e6, 0.1, 0.1)
    with rasterio.open(fine, "w", **profile) as file:
        file.write(image)
    maps = {}
    for gsd in ("auto", "native", "0.25m"):
        out = tmp_path / f"{gsd}.tif"
        sure = tmp_path / f"{gsd}.sure.tif"
        flags = ["--gsd", gsd, "--confidence", sure]
        result = run(fine, "--out", out, "-m", tiny_model, *flags)
        assert result.exit_code == 0, result.output
        assert ("0.25 to 1.00 m" in result.stderr) == (gsd != "0.25m")
        with rasterio.open(out) as found:
            assert (found.shape, found.transform) == (image.shape[1:], profile["transform"])
        with rasterio.open(sure) as found:
            maps[gsd] = found.read(1)
        np.testing.assert_array_equal(maps[gsd] == 255, mask == 0)
    np.testing.assert_array_equal(maps["auto"], maps["0.25m"])
    assert (maps["auto"] != maps["native"]).any()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--gsd", "9m"], 4, "more than 8 times as fine"),
        (["--gsd", "fine"], 2, "--gsd fine"),
        (["--gsd", "0m"], 2, "--gsd 0m"),
        (["--src-nodata", "none"], 2, "not a list of numbers"),
        (["--src-nodata", "-1"], 2, "-1 is no value of uint8"),
        (["--collar", "some"], 2, "some"),
    ],
)
def test_what_cannot_be_reconciled_is_refused(tmp_path, scene, tiny_model, flags, code, words):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, *flags)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


# ---- bad input ------------------------------------------------------------------------------


def missing(folder, scene, model):
    return folder / "none.tif", model, {}


def text(folder, scene, model):
    (folder / "notes.tif").write_text("this is no raster")
    return folder / "notes.tif", model, {}


def folder_without_scenes(folder, scene, model):
    (folder / "scenes").mkdir()
    return folder / "scenes", model, {}


def without_bands(folder, scene, model):
    # A GeoPackage with two rasters is a container: it opens, and has no bands of its own.
    for table in ("one", "two"):
        with rasterio.open(
            folder / "two.gpkg",
            "w",
            driver="GPKG",
            width=40,
            height=40,
            count=3,
            dtype="uint8",
            crs="EPSG:32632",
            transform=from_origin(5e5, 5.4e6, 0.5, 0.5),
            raster_table=table,
            append_subdataset=table == "two",
        ) as file:
            file.write(np.ones((3, 40, 40), np.uint8))
    return folder / "two.gpkg", model, {}


def write(path, array, dtype="uint8", **options):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=dtype,
        crs="EPSG:32632",
        transform=from_origin(5e5, 5.4e6, 0.5, 0.5),
        **options,
    ) as file:
        file.write(array)
    return path


def one_band(folder, scene, model):
    return write(folder / "one.tif", np.ones((1, 40, 40), np.uint8)), model, {}


def five_bands(folder, scene, model):
    return write(folder / "five.tif", np.ones((5, 40, 40), np.uint8)), model, {}


def complex_values(folder, scene, model):
    return write(folder / "sar.tif", np.ones((3, 40, 40), "complex64"), "complex64"), model, {}


def other_type(folder, scene, model):
    return write(folder / "deep.tif", np.ones((3, 40, 40), "uint16"), "uint16"), model, {}


def cut_short(folder, scene, model):
    data = scene.read_bytes()
    (folder / "cut.tif").write_bytes(data[: len(data) * 2 // 3])
    return folder / "cut.tif", model, {}


def headless(folder, scene, model):
    (folder / "head.tif").write_bytes(scene.read_bytes()[:100])
    return folder / "head.tif", model, {}


def bad_block(folder, scene, model):
    path = folder / "bad.tif"
    rng = np.random.default_rng(0)
    write(
        path,
        rng.integers(1, 255, (3, 1024, 256), dtype=np.uint8),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        interleave="pixel",
    )
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    return path, model, {}


def output_exists(folder, scene, model):
    (folder / "map.tif").write_text("mine")
    return scene, model, {}


def output_folder_missing(folder, scene, model):
    return scene, model, {"out": folder / "nowhere" / "map.tif"}


def output_is_folder(folder, scene, model):
    (folder / "map.tif").mkdir()
    return scene, model, {}


def output_read_only(folder, scene, model):
    # The superuser of a container may write into any folder but this.
    return scene, model, {"out": "/proc/map.tif"}


def output_no_tiff(folder, scene, model):
    return scene, model, {"out": folder / "map.png"}


def model_missing(folder, scene, model):
    return scene, folder / "none.safetensors", {}


def model_cut(folder, scene, model):
    (folder / "cut.safetensors").write_bytes(model.read_bytes()[:-1000])
    return scene, folder / "cut.safetensors", {}


def model_no_safetensors(folder, scene, model):
    (folder / "m.pt").write_bytes(struct.pack("<Q", 12) + b"no such header")
    return scene, folder / "m.pt", {}


def model_without_card(folder, scene, model):
    import torch

    save_file({"a": torch.zeros(2)}, folder / "bare.safetensors")
    return scene, folder / "bare.safetensors", {}


def strange_tile(folder, scene, model):
    return scene, model, {"tile-size": 100}


def too_much_overlap(folder, scene, model):
    return scene, model, {"tile-size": 128, "overlap": 96}


def no_such_device(folder, scene, model):
    return scene, model, {"device": "cuda:99"}


def strange_device(folder, scene, model):
    return scene, model, {"device": "abacus"}


def strange_band(folder, scene, model):
    return scene, model, {"band": "1,two"}


def band_out_of_range(folder, scene, model):
    return scene, model, {"band": "1,2,9"}


TABLE = [
    (missing, 2, "no such file"),
    (text, 1, "cannot be opened as a raster"),
    (folder_without_scenes, 2, "no scenes found"),
    (without_bands, 4, "no bands"),
    (one_band, 4, "has 1 bands"),
    (five_bands, 4, "has 5 bands"),
    (complex_values, 4, "complex"),
    (other_type, 4, "uint16"),
    (cut_short, 1, "cannot be"),
    (headless, 1, "cannot be opened as a raster"),
    (bad_block, 1, "cannot be read"),
    (output_exists, 3, "exists already"),
    (output_folder_missing, 2, "no such folder"),
    (output_is_folder, 2, "is a folder"),
    (output_read_only, 1, "cannot be written"),
    (output_no_tiff, 2, "does not end in .tif"),
    (model_missing, 2, "no such model"),
    (model_cut, 1, "not a whole safetensors file"),
    (model_no_safetensors, 1, "not a whole safetensors file"),
    (model_without_card, 4, "no hyseg card"),
    (strange_tile, 2, "--tile-size 100"),
    (too_much_overlap, 2, "--overlap 96"),
    (no_such_device, 2, "CUDA devices"),
    (strange_device, 2, "is not a device"),
    (strange_band, 2, "list of band numbers"),
    (band_out_of_range, 2, "--band 9"),
]


@pytest.mark.parametrize(
    ("arrange", "code", "words"), TABLE, ids=lambda x: getattr(x, "__name__", "")
)
def test_bad_input_is_one_line_one_hint_and_the_right_code(
    tmp_path, scene, tiny_model, arrange, code, words
):
    path, model, options = arrange(tmp_path, scene, tiny_model)
    out = options.pop("out", tmp_path / "map.tif")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    result = run(path, "--out", out, "-m", model, "-q", *flags)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output
    if code != 2 or "Usage" not in result.stderr:
        lines = result.stderr.splitlines()
        assert len(lines) == 2, result.stderr
        assert lines[0].startswith("Error: ")
        assert lines[1].startswith("Hint: ")
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


def test_an_unexpected_failure_leaves_nothing_and_no_traceback(
    tmp_path, scene, tiny_model, monkeypatch
):
    def fail(*_, **__):
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr("hyseg_cli.learn.stitch.Stitcher.finish", fail)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 1
    assert "unexpected RuntimeError: a bug" in result.stderr
    assert "--debug" in result.stderr
    assert list(tmp_path.iterdir()) == []
    debugged = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "--debug")
    assert isinstance(debugged.exception, RuntimeError)


def test_an_interruption_leaves_nothing(tmp_path, scene, tiny_model, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hyseg_cli.learn.stitch.Stitcher.finish", interrupt)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, scene, tiny_model, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyseg_cli.geo.work.sync", full)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_may_come_from_a_file(tmp_path, scene, tiny_model):
    config = tmp_path / "run.toml"
    config.write_text(f'model = "{tiny_model}"\ntile-size = 128\nseed = 3\n')
    out = tmp_path / "map.tif"
    result = run(scene, "--out", out, "--config", config, "--seed", 4)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as file:
        used = json.loads(file.tags()["HYSEG_SETTINGS"])
    assert (used["tile_size"], used["seed"]) == (128, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [("tile_sise = 128", "'tile_sise' is not an option"), ("tile-size = ", "is not TOML")],
)
def test_a_config_with_unknown_keys_is_refused(tmp_path, scene, content, words):
    config = tmp_path / "run.toml"
    config.write_text(content)
    result = run(scene, "--out", tmp_path / "map.tif", "--config", config)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_tall_scene_needs_no_more_work_folder_afterwards(tmp_path, scene, tiny_model):
    stale = tmp_path / "map.tif.hyseg"
    stale.mkdir()
    (stale / "rows-000000000.tif").write_text("from a killed run")
    assert run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model).exit_code == 0
    assert not stale.exists()
    shutil.rmtree(stale, ignore_errors=True)


def test_probabilities_and_confidence_lie_on_the_grid_of_the_map(
    tmp_path, scene, tiny_model, legend
):
    out, sure, shares = (tmp_path / name for name in ("map.tif", "sure.tif", "shares.tif"))
    result = run(
        scene, "--out", out, "-m", tiny_model, "--confidence", sure, "--probabilities", shares
    )
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as a, rasterio.open(sure) as b, rasterio.open(shares) as c:
        assert a.transform == b.transform == c.transform
        assert a.crs == b.crs == c.crs
        assert c.descriptions == legend.names
        assert b.descriptions == ("confidence",)
        assert b.nodata == c.nodata == 255
        assert c.scales == pytest.approx([1 / 254] * 5)
        classes, confidence, levels = a.read(1), b.read(1), c.read().astype(int)
    valid = classes != 255
    assert (confidence[~valid] == 255).all()
    assert (levels[:, ~valid] == 255).all()
    np.testing.assert_array_equal(confidence, levels.max(axis=0))
    assert np.abs(levels[:, valid].sum(axis=0) - 254).max() <= 3
    of_class = np.take_along_axis(levels, np.where(valid, classes, 0)[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(of_class[valid], confidence[valid])
    for path in (sure, shares):
        assert cog_validate(path)[0]
    names = {path.name for path in tmp_path.iterdir()}
    rasters = {"map.tif", "sure.tif", "shares.tif"}
    assert names == rasters | {f"{name}.aux.xml" for name in rasters}
    polygons = CliRunner().invoke(
        cli, ["vectorize", str(out), "--out", str(tmp_path / "p.gpkg"), "--confidence", str(sure)]
    )
    assert polygons.exit_code == 0, polygons.output


def test_an_extra_output_that_exists_is_not_overwritten(tmp_path, scene, tiny_model):
    (tmp_path / "sure.tif").write_bytes(b"mine")
    result = run(
        scene,
        "--out",
        tmp_path / "map.tif",
        "-m",
        tiny_model,
        "--confidence",
        tmp_path / "sure.tif",
    )
    assert result.exit_code == 3
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
