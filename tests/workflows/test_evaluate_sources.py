"""`hyseg evaluate --source`: a model held against labels of another legend."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from workflows.evaluating import numbers
from workflows.sources import write_sources
from workflows.training import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scene_folder):
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder, scene_folder)
    # The model's own classes: land for bare ground, vegetation for grass and trees.
    merging = {"bare ground": "land", "low vegetation": "vegetation", "trees": "vegetation"}
    (folder / "old.json").write_text(json.dumps(merging))
    return folder


def predicted(folder, model, tmp_path, scene):
    out = tmp_path / f"{scene}.tif"
    image = folder / "city" / "images" / f"{scene}.tif"
    result = run("predict", image, "--out", out, "-m", model)
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as file:
        return file.read(1)


def labels_of(folder, source, scene):
    with rasterio.open(folder / source / "labels" / f"{scene}.tif") as file:
        return file.read(1)


def test_a_model_is_held_against_what_a_source_can_say(folder, tmp_path, lively_model):
    maps, roofs = [], []
    for scene in ("east", "west"):
        maps.append(predicted(folder, lively_model, tmp_path, scene))
        roofs.append(labels_of(folder, "roofs", scene))
    mapped, labels = np.stack(maps), np.stack(roofs)
    known = labels != 255
    told = np.where(mapped == 0, 0, 1)  # a roof where a building is mapped, else the rest
    values = numbers(
        "--source", folder / "roofs.toml", "-m", lively_model, "--map-classes", folder / "old.json"
    )
    assert values["overall_accuracy"] == pytest.approx((told == labels)[known].mean())
    both = ((told == 0) & (labels == 0))[known].sum()
    either = ((told == 0) | (labels == 0))[known].sum()
    assert values["classes"]["roof"]["iou"] == pytest.approx(both / either)


def test_old_classes_follow_from_a_finer_legend(folder, lively_model):
    # "city" knows grass and trees as vegetation only, which is a class of the model.
    options = ("-m", lively_model, "--map-classes", folder / "old.json")
    mapped = numbers("--source", folder / "city.toml", *options)
    city = folder / "city"
    same = numbers(
        "--images", city / "images", "--labels", city / "labels", "-m", lively_model,
        "--reference-legend", folder / "city.json",
    )  # fmt: skip
    assert mapped["confusion"] == same["confusion"]
    assert mapped["miou"] == same["miou"]


def test_a_source_that_the_model_does_not_know_is_refused(folder, lively_model):
    result = run("evaluate", "--source", folder / "woods.toml", "-m", lively_model)
    assert result.exit_code == 2
    assert "source woods: 'forest' is mapped to 'trees'" in result.stderr
    result = run("evaluate", "--source", folder / "none.toml", "-m", lively_model)
    assert result.exit_code == 2
    assert "no such file" in result.stderr
    both = ("--source", folder / "roofs.toml", "--images", folder, "--labels", folder)
    assert run("evaluate", *both).exit_code == 2
