"""`hyseg train --from MODEL`: how far the weights go from those of the model."""

from __future__ import annotations

import json
import re

import pytest
import torch
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.weights import load_model


@pytest.fixture
def go_on(tmp_path, scene_folder, tiny_model):
    """A short training that goes on from the tiny model: what it tells, and its model."""

    def train(name, *flags, legend=scene_folder / "legend.json"):
        out = tmp_path / f"{name}.safetensors"
        arguments = [
            "train", "--images", scene_folder / "images", "--labels", scene_folder / "labels",
            "--legend", legend, "--from", tiny_model, "--out", out, "--prior-steps", 2,
            "--steps", 4, "--rate", 0.01, "--prior-rate", 0.1, "--batch-size", 2, "--chip-size", 64,
            "--val-every", 4, *flags,
        ]  # fmt: skip
        result = CliRunner().invoke(cli, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
        return result.stderr, load_model(out)

    return train


def test_without_held_out_images_it_stops_half_way(go_on, tiny_model):
    told, half = go_on("half")
    assert "50% of the way" in told
    assert half.card.training["blend"] == 0.5
    _, taught = go_on("taught", "--blend", "1")
    start, end = load_model(tiny_model).network.state_dict(), taught.network.state_dict()
    moved = {"prior": 0.0, "decoder": 0.0}
    for name, tensor in half.network.state_dict().items():
        if tensor.is_floating_point():
            middle = (start[name] + end[name]) / 2
            # Model files hold half precision.
            torch.testing.assert_close(tensor, middle, rtol=2e-3, atol=2e-4, msg=name)
            part = name.split(".")[0]
            if part in moved:
                moved[part] = max(moved[part], float((tensor - start[name]).abs().max()))
    assert min(moved.values()) > 1e-3


def test_the_better_of_two_on_held_out_images_is_kept_with_its_scores(go_on):
    told, model = go_on("best", "--val-scenes", "west")
    found = re.search(r"share of the new weights: 0.5: ([\d.]+), 1: ([\d.]+)", told)
    half, whole = float(found[1]), float(found[2])
    assert half != whole
    assert model.card.training["blend"] == (0.5 if half > whole else 1.0)
    assert model.card.metrics["miou"] == pytest.approx(max(half, whole), abs=6e-4)
    for share, score in ((0.5, half), (1.0, whole)):
        _, fixed = go_on(f"at_{share}", "--val-scenes", "west", "--blend", share)
        assert fixed.card.training["blend"] == share
        assert fixed.card.metrics["miou"] == pytest.approx(score, abs=6e-4)


def test_a_new_class_is_taught_all_of_the_way(go_on, scene_folder, tmp_path):
    values = json.loads((scene_folder / "legend.json").read_text())
    values["classes"].append({"id": 77, "name": "glacier", "color": "#fefefe"})
    legend = tmp_path / "more.json"
    legend.write_text(json.dumps(values))
    _, model = go_on("more", legend=legend)
    assert model.card.training["blend"] == 1.0


def test_a_way_that_does_not_exist_is_refused(tmp_path):
    arguments = ["train", "--images", "i", "--labels", "l", "--out", tmp_path / "m.safetensors"]
    for flags, words in (
        (["--blend", "0.5"], "--from"),
        (["--blend", "0", "--from", "default"], "--blend 0.0 is not above 0"),
        (["--blend", "1.5", "--from", "default"], "at most 1"),
        (["--blend", "0.5", "--from", "default", "--stage", "prior"], "--blend is for"),
    ):
        result = CliRunner().invoke(cli, [str(part) for part in (*arguments, *flags)])
        assert result.exit_code == 2
        assert words in result.stderr
