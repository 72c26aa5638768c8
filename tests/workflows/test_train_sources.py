"""`hyseg train --source`: several data sets, each with a legend of its own."""

from __future__ import annotations

import math
import signal

import numpy as np
import pytest
import rasterio
import torch
from workflows.sources import COMMON, source_arguments, write_sources
from workflows.test_train_resume import stopped
from workflows.training import run

from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.workflows.train import sources as training_sources


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scene_folder):
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder, scene_folder)
    return folder


@pytest.fixture
def files(folder):
    return [folder / f"{name}.toml" for name in ("city", "roofs", "woods")]


def test_a_killed_training_from_three_legends_ends_with_the_same_weights(tmp_path, folder, files):
    arguments = {"prior-steps": 1, "steps": 4, "val-every": 4, "save-every": 2, "seed": 5}
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    result = run(*source_arguments(folder, whole, files, **arguments))
    assert result.exit_code == 0, result.output
    given = source_arguments(folder, killed, files, **arguments)
    done = stopped(given, stage="segmentation", step=3, by=signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL, done.stderr
    result = run(*given, "--resume")
    assert result.exit_code == 0, result.output
    assert "the segmentation continues after step 2" in result.stderr
    one, other = load_model(whole), load_model(killed)
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(tensor, other.network.state_dict()[name], rtol=1e-6, atol=1e-7)
    assert one.card.metrics == other.card.metrics
    card = one.card
    assert card.legend.names == COMMON
    assert card.data.licence == "licence of city; licence of roofs; licence of woods"
    assert [source.name for source in card.data.sources] == ["city", "roofs", "woods"]
    assert card.data.sources[0].classes["vegetation"] == ("low vegetation", "trees")
    assert card.data.training_scenes == ("city/east", "roofs/east", "woods/east")
    measured = card.metrics["sources"]
    assert set(measured["roofs"]["iou"]) == {"roof", "rest"}
    assert set(measured["woods"]["iou"]) == {"forest", "water", "other"}
    assert all(0.0 <= found["miou"] <= 1.0 for found in measured.values())
    # Of what "woods" does not know nothing is counted.
    assert measured["woods"]["pixels"] < measured["city"]["pixels"]


def test_a_source_is_a_table_of_the_configuration_too(tmp_path, folder, files):
    config = folder / "config.toml"
    tables = [
        f"[source.{file.stem}]\n"
        + file.read_text().replace("[classes]", f"[source.{file.stem}.classes]")
        for file in files[:2]
    ]
    config.write_text("\n".join(tables))
    out = tmp_path / "m.safetensors"
    result = run(*source_arguments(folder, out, [], config=config), "--dry-run")
    assert result.exit_code == 0, result.output
    assert "training scenes    city/east, roofs/east" in result.output
    assert "validation scenes  city/west, roofs/west" in result.output


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("city", '"land" = "bare ground"', '"land" = "desert"', "'desert', which is not a class"),
        ("city", '"land" =', '"lawn" =', "its labels have no class 'lawn'"),
        ("city", '"land" = "bare ground"', "", "it is not said what its class 'land' is"),
        ("roofs", '"roof" =', '"Roof" = "road"\n"roof" =', "rules for one class"),
        ("roofs", '"building"', '"any"', "none of its classes says anything"),
        ("roofs", "licence =", "license =", "'license' is not one of its settings"),
        ("roofs", 'images = "roofs/images"', "", "does not say where its images are"),
        ("woods", '"any"', "7", "classes = "),
    ],
)  # fmt: skip
def test_bad_mappings_are_refused_before_any_scene_is_opened(
    tmp_path, folder, files, monkeypatch, name, old, new, words
):
    def fail(*_):
        pytest.fail("a scene was opened")

    monkeypatch.setattr(training_sources, "open_pair", fail)
    text = (folder / f"{name}.toml").read_text()
    assert old in text
    if words.startswith("none of"):
        text = text.replace('"not building"', '"any"')
    bad = folder / f"bad_{name}.toml"
    bad.write_text(text.replace(old, new))
    given = [file for file in files if file.stem != name]
    out = tmp_path / "m.safetensors"
    result = run(*source_arguments(folder, out, [*given, f"{name}={bad}"]))
    assert result.exit_code == 2, result.output
    assert f"source {name}: " in result.stderr
    assert words in result.stderr
    assert not out.with_suffix(".run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"legend": None}, "--source needs the classes"),
        ({"val-scenes": "city/north"}, "no source has such a place or image"),
        ({"images": "x", "labels": "y"}, "Give one of these"),
        ({"val-scenes": None, "val-split": 0.2}, "do not go with --source"),
    ],
)
def test_options_that_do_not_go_with_sources_are_refused(tmp_path, folder, files, options, words):
    result = run(*source_arguments(folder, tmp_path / "m.safetensors", files, **options))
    assert result.exit_code == 2
    assert words in result.stderr


def test_two_sources_of_one_name_are_refused(tmp_path, folder, files):
    given = [files[0], f"city={files[1]}"]
    result = run(*source_arguments(folder, tmp_path / "m.safetensors", given))
    assert result.exit_code == 2
    assert "two sources are called 'city'" in result.stderr


def test_the_watched_score_counts_every_source_alike(tmp_path, folder, files):
    out = tmp_path / "m.safetensors"
    result = run(
        *source_arguments(folder, out, files[:2], **{"prior-steps": 1, "steps": 1, "val-every": 1})
    )
    assert result.exit_code == 0, result.output
    found = load_model(out).card.metrics["sources"]
    mean = sum(source["miou"] for source in found.values()) / len(found)
    assert not math.isnan(mean)
    assert "(source city)" in result.stderr


def test_images_that_touch_one_that_is_held_out_are_not_trained_on(tmp_path, scene_folder):
    beside = write_sources(tmp_path, scene_folder, far=0)
    result = run(*source_arguments(tmp_path, tmp_path / "m.safetensors", beside), "-n")
    assert result.exit_code == 2
    assert "source city: 1 images touch others that are held out" in result.stderr
    assert "no scene is left to train on" in result.stderr


def with_infrared(folder, name):
    """Give the images of a source a fourth band, and say so."""
    for path in (folder / name / "images").iterdir():
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        profile |= {"count": 4, "photometric": "RGB", "alpha": "NO"}
        with rasterio.open(path, "w", **profile) as file:
            file.write(np.concatenate([values, 255 - values[:1]]))
    file = folder / f"{name}.toml"
    bands = 'band-names = ["red", "green", "blue", "nir"]\n'
    file.write_text(bands + file.read_text())


def test_one_model_maps_scenes_with_and_without_an_optional_band(tmp_path, scene_folder):
    files = write_sources(tmp_path, scene_folder)[:2]
    with_infrared(tmp_path, "roofs")
    out = tmp_path / "m.safetensors"
    names = [part for name in ("red", "green", "blue", "nir") for part in ("--band-name", name)]
    short = {"prior-steps": 1, "steps": 1, "val-every": 1}
    arguments = [*source_arguments(tmp_path, out, files, **short), *names]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "source city has no band nir" in refused.stderr
    result = run(*arguments, "--optional-band", "nir")
    assert result.exit_code == 0, result.output
    card = load_model(out).card
    assert card.bands == ("red", "green", "blue", "nir")
    assert card.optional_bands == ("nir",)
    # The statistics of the band are those of the images that have it.
    assert card.mean[3] == pytest.approx(255 - card.mean[0], abs=5.0)
    maps = []
    for source in ("city", "roofs"):
        path = tmp_path / f"{source}.tif"
        image = tmp_path / source / "images" / "west.tif"
        mapped = run("predict", image, "-o", path, "-m", out, "--report", path.with_suffix(".html"))
        assert mapped.exit_code == 0, mapped.output
        with rasterio.open(path) as file:
            maps.append(file.read(1))
    assert maps[0].shape == maps[1].shape
    assert "nir (optional)" in run("info", out).output
