"""Trainings that start from pretrained weights, without a network."""

import json

import numpy as np
import pytest
import rasterio
import torch
from learn.model.test_backbone import write_weights
from workflows.training import run, train_arguments

from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.weights import load_model
from hyseg_models.config import presets

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
