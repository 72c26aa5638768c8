"""Trainings that start from pretrained weights, without a network."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from learn.model.test_backbone import write_weights
from make_scene import write_scene
from rasters import write_geotiff
from workflows.test_train_resume import STOPPING
from workflows.training import run, train_arguments

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.inference.resample import spread_windows
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.contract import match
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.workflows.train import dry_run
from hyseg_models.blocks.vit import PlainViT
from hyseg_models.config import presets
from hyseg_models.config.probe_config import ProbeConfig

TINY = {
    "host.backbone": "test_vit",
    "host.depths": [3, 6],
    "prior.net.base": 8,
    "prior.net.mult": [1, 2],
    "prior.net.attn_ds": [],
}


@pytest.fixture
def tiny_presets(monkeypatch):
    """`vit` and `fast` with backbones that run in a moment."""
    small = {"vit": TINY, "fast": TINY | {"host.backbone": "test_efficientnet"}}
    for name, changes in small.items():
        parent, own = presets._PRESETS[name]
        monkeypatch.setitem(presets._PRESETS, name, (parent, own | changes))


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    """Makes files of random weights, the same for the same architecture."""

    def write(architecture):
        path = tmp_path_factory.mktemp("weights") / f"{architecture}.safetensors"
        write_weights(path, architecture)
        return path

    return write


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    """Two generated scenes that have room for several looks."""
    folder = tmp_path_factory.mktemp("wide")
    for seed, name in enumerate(("east", "west"), 1):
        write_scene(folder, name, seed=seed, size=640)
    return folder


@pytest.mark.parametrize(
    ("preset", "backbone"), [("vit", "test_vit"), ("fast", "test_efficientnet")]
)
def test_a_training_starts_from_weights_in_a_file(
    tmp_path, scene_folder, tiny_presets, weights_file, preset, backbone
):
    out, weights = tmp_path / "m.safetensors", weights_file(backbone)
    arguments = {"preset": preset, "backbone-weights": weights}
    done = run(*train_arguments(scene_folder, out, **arguments))
    assert done.exit_code == 0, done.output
    card = read_card(out)
    assert card.mean == pytest.approx((127.5, 102.0, 76.5))
    assert card.std == pytest.approx((51.0, 25.5, 76.5))
    told = card.training["backbone"]
    assert told["architecture"] == backbone
    assert told["licence"] == "CC0-1.0"
    assert str(tmp_path) not in card.to_json()
    if preset == "vit":
        body = load_model(out).network.backbone.body.state_dict()
        expected = write_weights(tmp_path / "again.safetensors", backbone)
        for name, value in body.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    scene = next((scene_folder / "images").glob("*.tif"))
    mapped = run("predict", scene, "--model", out, "--out", tmp_path / "map.tif")
    assert mapped.exit_code == 0, mapped.output


def test_sixteen_bits_and_four_bands_train_on_a_frozen_transformer(
    tmp_path, scene_folder, tiny_presets, weights_file
):
    images = tmp_path / "images"
    images.mkdir()
    for path in (scene_folder / "images").glob("*.tif"):
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        wide = np.concatenate([values[1:2], values]).astype(np.uint16) * 40
        profile.update(count=4, dtype="uint16", nodata=None, photometric=None)
        with rasterio.open(images / path.name, "w", **profile) as file:
            file.write(wide)
    out = tmp_path / "m.safetensors"
    arguments = {"preset": "vit", "backbone-weights": weights_file("test_vit"), "images": images}
    names = [part for name in ("nir", "red", "green", "blue") for part in ("--band-name", name)]
    done = run(*train_arguments(scene_folder, out, **arguments), *names)
    assert done.exit_code == 0, done.output
    card = read_card(out)
    assert card.config.host.seen == (1, 2, 3)
    low, high = card.limits
    assert card.mean[1] == pytest.approx(low[1] + 0.5 * (high[1] - low[1]))
    assert card.mean[0] != pytest.approx(low[0] + 0.5 * (high[0] - low[0]), rel=1e-3)


def test_a_frozen_backbone_without_weights_is_refused(tmp_path, scene_folder, tiny_presets):
    done = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", preset="vit"))
    assert done.exit_code == 2
    assert "--backbone-weights" in done.stderr


def test_weights_of_another_network_end_the_command_with_status_4(
    tmp_path, scene_folder, tiny_presets, weights_file
):
    arguments = {"preset": "vit", "backbone-weights": weights_file("test_efficientnet")}
    done = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", **arguments))
    assert done.exit_code == 4
    assert "weights of a test_efficientnet, not of a test_vit" in done.stderr
    assert not (tmp_path / "m.run").exists()


@pytest.mark.parametrize("other", [["--pretrained"], ["--from", "default"]])
def test_the_weights_come_from_one_place(tmp_path, scene_folder, other):
    arguments = train_arguments(
        scene_folder, tmp_path / "m.safetensors", **{"backbone-weights": tmp_path / "w"}
    )
    done = run(*arguments, *other)
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr


def test_a_model_goes_on_with_its_frozen_backbone(
    tmp_path, scene_folder, tiny_presets, weights_file
):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    arguments = {"preset": "vit", "backbone-weights": weights_file("test_vit")}
    assert run(*train_arguments(scene_folder, first, **arguments)).exit_code == 0
    done = run(*train_arguments(scene_folder, second, preset=None), "--from", first)
    assert done.exit_code == 0, done.output
    before, after = load_model(first).network, load_model(second).network
    for name, value in before.backbone.state_dict().items():
        assert torch.equal(value, after.backbone.state_dict()[name])
    assert json.loads(read_card(second).to_json())["config"]["host"]["frozen"]
    # whose weights these are is not forgotten
    origin = read_card(second).training
    assert origin["backbone"] == read_card(first).training["backbone"]
    assert origin["start"]["digest"] == load_model(first).digest


def test_a_backbone_that_is_unfrozen_learns_at_a_lower_rate(
    tmp_path, scene_folder, tiny_presets, weights_file
):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    arguments = {"preset": "vit+plain", "backbone-weights": weights_file("test_vit")}
    assert run(*train_arguments(scene_folder, first, **arguments)).exit_code == 0
    flags = ["--from", first, "--unfreeze", "--blend", "1"]
    done = run(*train_arguments(scene_folder, second, preset=None), *flags)
    assert done.exit_code == 0, done.output
    before, after = load_model(first).network, load_model(second).network
    moved = {
        part: max(
            float((value - getattr(after, part).state_dict()[name]).abs().max())
            for name, value in getattr(before, part).state_dict().items()
            if value.is_floating_point()
        )
        for part in ("backbone", "decoder")
    }
    assert 0 < moved["backbone"] < moved["decoder"]
    # the next training keeps what this one has made of it
    assert json.loads(read_card(second).to_json())["config"]["host"]["frozen"]


def test_only_the_blocks_after_those_that_polygons_are_learned_from_learn(
    tmp_path, wide_folder, tiny_presets, weights_file, monkeypatch
):
    shallow = partial(ProbeConfig, depths=(2, 4))  # the transformer here has six blocks
    monkeypatch.setattr("hyseg_cli.workflows.train.network.ProbeConfig", shallow)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    arguments = {"preset": "vit+plain", "backbone-weights": weights_file("test_vit")}
    assert run(*train_arguments(wide_folder, first, **arguments)).exit_code == 0
    flags = ["--from", first, "--unfreeze", "last", "--blend", "1"]
    done = run(*train_arguments(wide_folder, second, preset=None), *flags)
    assert done.exit_code == 0, done.output
    before, after = (
        load_model(path).network.backbone.body.state_dict() for path in (first, second)
    )
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"4", "5"}
    assert all(name.startswith("blocks.") for name in moved)
    # looks are taken from the third block, and the scenes are the same
    seen = [load_model(path).applicability for path in (first, second)]
    assert None not in seen
    # the second training saw them by weights that had been stored in half precision
    torch.testing.assert_close(seen[0].looks, seen[1].looks, rtol=0, atol=5e-3)


def test_a_training_on_everything_knows_the_places_that_were_held_out_before(
    tmp_path, wide_folder, tiny_presets, weights_file
):
    first, whole, other = (tmp_path / f"{name}.safetensors" for name in ("first", "whole", "other"))
    arguments = {"preset": "vit+plain", "backbone-weights": weights_file("test_vit")}
    assert run(*train_arguments(wide_folder, first, **arguments)).exit_code == 0
    more = {"preset": None, "val-scenes": None, "from": first}
    assert run(*train_arguments(wide_folder, whole, **more)).exit_code == 0
    elsewhere = more | {"images": wide_folder / "images/west.tif"}
    done = run(*train_arguments(wide_folder, other, **elsewhere))
    assert done.exit_code == 0, done.output
    before, after = (load_model(path).applicability for path in (first, whole))
    assert len(after.looks) > len(before.looks)
    assert torch.equal(after.looks[: len(before.looks)], before.looks)
    assert torch.equal(after.usual, before.usual)
    assert read_card(other).data.training_scenes == ("west",)
    # what was learned of the other scene may be lost
    assert load_model(other).applicability is None


def test_a_scene_that_was_learned_is_known_as_it_is_mapped(
    tmp_path, wide_folder, tiny_presets, weights_file
):
    """What `hyseg predict` looks at, at the pixel size that it takes, is what was remembered."""
    out = tmp_path / "m.safetensors"
    arguments = {"preset": "vit+plain", "backbone-weights": weights_file("test_vit")}
    shown = {"map-resolution": "0.4"}  # scenes have pixels of 0.5 m
    done = run(*train_arguments(wide_folder, out, **arguments, **shown))
    assert done.exit_code == 0, done.output
    model = load_model(out)
    known, predictor = model.applicability, Predictor(model, torch.device("cpu"))

    def seen(name):
        raster = open_raster(str(wide_folder / "images" / f"{name}.tif"))
        contract = match(raster, model.card)
        assert contract.alignment < ALIGNMENT
        with SceneReader(raster, contract.bands) as reader:
            whole = Window(0, 0, raster.height, raster.width)
            windows = list(spread_windows(reader, whole, contract.alignment))
        assert len(windows) >= 9
        return torch.cat([predictor.looks(image, valid) for image, valid in windows])

    def apart(looks):
        return torch.cdist((looks - known.mean) / known.std, known.looks).amin(dim=1)

    assert read_card(out).data.validation_scenes == ("west",)
    usual = float(known.usual)
    assert float(apart(seen("east")).max()) < 0.05 * usual
    assert float(apart(seen("west")).min()) > 0.1 * usual


@pytest.mark.parametrize("preset", ["vit+plain", "fast+plain"])
def test_what_has_no_blocks_after_those_of_polygons_is_refused(
    tmp_path, scene_folder, tiny_presets, weights_file, preset
):
    weights = weights_file("test_vit" if "vit" in preset else "test_efficientnet")
    arguments = {"preset": preset, "backbone-weights": weights}
    given = train_arguments(scene_folder, tmp_path / "a.safetensors", **arguments)
    done = run(*given, "--unfreeze", "last")
    assert done.exit_code == 2
    assert "has no blocks after the first 9" in done.stderr


def test_the_backbone_of_a_prior_stays_as_the_prior_knows_it(
    tmp_path, scene_folder, tiny_presets, weights_file
):
    arguments = {"preset": "vit", "backbone-weights": weights_file("test_vit")}
    given = train_arguments(scene_folder, tmp_path / "a.safetensors", **arguments)
    done = run(*given, "--unfreeze")
    assert done.exit_code == 2
    assert "--unfreeze: the prior of this network has learned with its backbone" in done.stderr


def test_a_backbone_is_frozen_or_not(tmp_path, scene_folder):
    given = train_arguments(scene_folder, tmp_path / "a.safetensors")
    done = run(*given, "--freeze", "backbone", "--unfreeze")
    assert done.exit_code == 2
    assert "--freeze backbone and --unfreeze exclude each other" in done.stderr


@pytest.fixture
def seen(monkeypatch):
    """Counts the images that transformers look at."""
    counted = []
    forward = PlainViT.forward

    def count(self, image):
        counted.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(PlainViT, "forward", count)
    return counted


MEASURED = 40
LONG = {"preset": "vit", "prior-steps": 20, "steps": 20, "val-every": 10, "batch-size": 8}


def test_features_are_computed_once_and_serve_both_stages_and_the_next_training(
    tmp_path, scene_folder, tiny_presets, weights_file, seen
):
    weights = {"backbone-weights": weights_file("test_vit"), "feature-folder": tmp_path / "kept"}
    done = run(*train_arguments(scene_folder, tmp_path / "a.safetensors", **LONG | weights))
    assert done.exit_code == 0, done.output
    # 160 chips, four to validate, and those on which the prior is measured; the steps see 320
    assert 164 <= sum(seen) <= 164 + MEASURED
    seen.clear()
    other = LONG | weights | {"steps": 10, "rate": 0.001}
    done = run(*train_arguments(scene_folder, tmp_path / "b.safetensors", **other))
    assert done.exit_code == 0, done.output
    assert sum(seen) <= MEASURED


def test_features_that_have_no_room_are_computed_at_each_step(
    tmp_path, scene_folder, tiny_presets, weights_file, seen
):
    arguments = LONG | {"backbone-weights": weights_file("test_vit"), "feature-space": 0.001}
    done = run(*train_arguments(scene_folder, tmp_path / "a.safetensors", **arguments))
    assert done.exit_code == 0, done.output
    assert sum(seen) >= 2 * 160
    assert not (tmp_path / "a.run" / "features").exists()


def test_a_dry_run_says_what_is_kept(tmp_path, scene_folder, tiny_presets, weights_file):
    arguments = LONG | {"backbone-weights": weights_file("test_vit")}
    out = tmp_path / "a.safetensors"
    told = run(*train_arguments(scene_folder, out, **arguments), "--dry-run")
    assert told.exit_code == 0, told.output
    assert "features kept      160 chips to train on and 4 to validate" in told.stdout
    told = run(*train_arguments(scene_folder, out, preset="cpu_smoke"), "--dry-run")
    assert "features kept" not in told.stdout


def test_a_dry_run_counts_the_backbone_once_for_a_chip_whose_features_are_kept(
    tmp_path, scene_folder, tiny_presets, weights_file, monkeypatch
):
    quick, wait, tick, now = PlainViT.forward, 0.5, 0.1, [0.0]

    def slow(self, image):
        now[0] += wait * len(image)
        return quick(self, image)

    def clock():
        now[0] += tick
        return now[0]

    monkeypatch.setattr(PlainViT, "forward", slow)
    monkeypatch.setattr(dry_run, "time", SimpleNamespace(perf_counter=clock))
    paces = {}
    for space in (0, 4):
        arguments = LONG | {"backbone-weights": weights_file("test_vit"), "feature-space": space}
        told = run(
            *train_arguments(scene_folder, tmp_path / "a.safetensors", **arguments), "--dry-run"
        )
        assert told.exit_code == 0, told.output
        paces[space] = float(re.findall(r"([0-9.]+) s for a step", told.stdout)[0])
    assert paces[0] == pytest.approx(LONG["batch-size"] * (wait + tick))
    assert paces[4] == pytest.approx(LONG["batch-size"] * tick)


@pytest.mark.parametrize(("stage", "step"), [("prior", 5), ("segmentation", 5)])
def test_a_killed_training_on_kept_features_reaches_the_same_weights(
    tmp_path, scene_folder, tiny_presets, weights_file, stage, step
):
    arguments = {
        "preset": "vit", "prior-steps": 6, "steps": 6, "val-every": 3, "save-every": 2,
        "backbone-weights": weights_file("test_vit"),
    }  # fmt: skip
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    assert run(*train_arguments(scene_folder, whole, **arguments)).exit_code == 0
    done = killed_training(scene_folder, killed, arguments, stage, step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # One file of features is lost with the machine.
    (first, *_) = sorted((tmp_path / "killed.run" / "features").glob("*/training/*.safetensors"))
    first.unlink()
    again = run(*train_arguments(scene_folder, killed, **arguments), "--resume")
    assert again.exit_code == 0, again.output
    expected, found = (load_model(path).network.state_dict() for path in (whole, killed))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def killed_training(scene_folder, out, arguments, stage, step):
    """A training of the tiny presets in a process of its own, killed at a step."""
    given = [str(part) for part in train_arguments(scene_folder, out, **arguments)]
    program = f"""
import sys
from functools import partial
from hyseg_models.config import presets
from hyseg_models.config.probe_config import ProbeConfig
parent, own = presets._PRESETS["vit"]
presets._PRESETS["vit"] = (parent, own | {TINY!r})
sys.argv = ["", {stage!r}, "{step}", "9", *{given!r}]
{STOPPING}
"""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )


def test_a_scene_that_looks_unlike_the_training_is_announced(
    tmp_path, wide_folder, tiny_presets, weights_file
):
    model = tmp_path / "a.safetensors"
    arguments = LONG | {"backbone-weights": weights_file("test_vit"), "prior-steps": 1}
    done = run(*train_arguments(wide_folder, model, **arguments))
    assert done.exit_code == 0, done.output
    known = next((wide_folder / "images").glob("west*"))
    strange = np.random.default_rng(0).integers(0, 256, (3, 256, 256)).astype(np.uint8)
    path = write_geotiff(tmp_path / "strange.tif", strange)
    found = {}
    for name, scene in (("known", known), ("strange", path)):
        told = run("predict", scene, "-m", model, "-o", tmp_path / f"{name}_map.tif", "--json")
        assert told.exit_code == 0, told.output
        result = json.loads(told.stdout)
        is_warned = any("looks unlike" in warning for warning in result["warnings"])
        assert is_warned == ("looks unlike" in told.stderr) == (result["dissimilarity"] > 1)
        found[name] = result["dissimilarity"]
    assert found["known"] < 1 < found["strange"]
