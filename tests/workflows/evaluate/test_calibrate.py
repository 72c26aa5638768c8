"""`hyseg evaluate --probabilities`, and what a temperature does to the next map."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.weights import Model, load_model


def run(*arguments):
    return CliRunner().invoke(cli, [str(part) for part in arguments])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def model(tmp_path, tiny_model):
    path = tmp_path / "model.safetensors"
    shutil.copy(tiny_model, path)
    return path


@pytest.fixture
def predicted(tmp_path, scene_folder, model):
    """A map and its probabilities."""
    return predict(tmp_path, scene_folder, model, "first")


def predict(tmp_path, scene_folder, model, name):
    out, shares = tmp_path / f"{name}.tif", tmp_path / f"{name}-p.tif"
    done("predict", scene_folder / "images" / "east.tif", "--out", out, "--model", model,
         "--probabilities", shares, "--tile-size", 128, "--device", "cpu")  # fmt: skip
    return out, shares


def test_a_calibrated_model_means_what_it_says(tmp_path, scene_folder, model, predicted):
    truth = scene_folder / "labels" / "east.tif"
    result = done("evaluate", predicted[0], "--reference", truth, "--probabilities", predicted[1],
                  "--calibrate", model, "--json")  # fmt: skip
    found = json.loads(result.stdout)["calibration"]
    fitted = found["temperature"]
    assert fitted["log_loss"] < fitted["log_loss_before"]
    assert read_card(model).temperature == pytest.approx(fitted["value"])
    again = predict(tmp_path, scene_folder, model, "second")
    result = done("evaluate", again[0], "--reference", truth, "--probabilities", again[1], "--json")
    after = json.loads(result.stdout)["calibration"]
    assert after["ece"] < found["ece"]
    assert after["brier"] < found["brier"]
    # Tiles are blended after the softmax, and levels are rounded: the second fit is nearer to 1,
    # not there.
    first, second = (abs(np.log(f["temperature"]["value"])) for f in (found, after))
    assert second < first / 2


def test_the_numbers_are_those_of_the_whole_rasters(scene_folder, predicted):
    truth = scene_folder / "labels" / "east.tif"
    arguments = ["evaluate", predicted[0], "--reference", truth, "--probabilities", predicted[1]]
    found = json.loads(done(*arguments, "--json").stdout)["calibration"]
    with rasterio.open(predicted[1]) as file:
        levels = file.read()
    with rasterio.open(truth) as file:
        reference = file.read(1)
    known = (reference != 255) & (levels != 255).all(axis=0)
    shares, labels = levels[:, known] / 254, reference[known]
    brier = ((shares - np.eye(5)[labels].T) ** 2).sum(axis=0).mean()
    assert found["brier"] == pytest.approx(brier)
    assert found["pixels"] == known.sum()
    assert sum(b["pixels"] for b in found["bins"]) == known.sum()
    table = done(*arguments).stdout
    assert f"Brier score {brier:.4f}" in table


def test_a_model_that_did_not_make_them_is_left_alone(tmp_path, scene_folder, model, predicted):
    truth = scene_folder / "labels" / "east.tif"
    arguments = ["evaluate", predicted[0], "--reference", truth, "--probabilities", predicted[1],
                 "--calibrate", model]  # fmt: skip
    done(*arguments)
    before = model.read_bytes()
    # The model has another card now: the same probabilities must not be used twice.
    result = run(*arguments)
    assert result.exit_code == 4
    assert "was made by the model" in result.stderr
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--calibrate", "m.safetensors", "--reference", "MAP"], 2, "needs probabilities"),
        (["--probabilities", "MAP", "--reference", "MAP"], 4, "does not hold the probabilities"),
        (["--probabilities", "MAP"], 2, "compared with a reference"),
        (["--probabilities", "none.tif", "--reference", "MAP"], 2, "no such file"),
    ],
)
def test_what_cannot_be_calibrated_is_told(predicted, options, code, words):
    result = run("evaluate", predicted[0], *[predicted[0] if o == "MAP" else o for o in options])
    assert result.exit_code == code
    assert words in result.stderr


def test_bands_are_found_by_their_names(tmp_path, scene_folder, predicted):
    truth = scene_folder / "labels" / "east.tif"
    with rasterio.open(predicted[1]) as file:
        profile, levels, names, tags = file.profile, file.read(), file.descriptions, file.tags()
    turned = tmp_path / "turned.tif"
    with rasterio.open(turned, "w", **(profile | {"driver": "GTiff"})) as file:
        file.write(levels[::-1])
        file.descriptions = names[::-1]
        file.update_tags(**tags)
    found = [
        json.loads(
            done(
                "evaluate", predicted[0], "--reference", truth, "--probabilities", p, "--json"
            ).stdout
        )["calibration"]
        for p in (predicted[1], turned)
    ]
    assert found[0] == found[1]


def test_logits_are_divided_by_the_temperature(tiny_model):
    model = load_model(tiny_model)
    warm = Model(model.network, replace(model.card, temperature=2.0), model.digest)
    image = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    arguments = image, torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.zeros(1, 2, dtype=int)
    device = torch.device("cpu")
    one, other = (Predictor(m, device)(*arguments) for m in (model, warm))
    expected = one.sqrt() / one.sqrt().sum(dim=1, keepdim=True)
    torch.testing.assert_close(other, expected)
