"""`hyseg train` from the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from PIL import Image
from rasterio.features import shapes
from workflows.training import run, train_arguments

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.learn.training.loggers import make_loggers
from hyseg_cli.settings.train import TrainSettings
from hyseg_models import build, preset


@pytest.fixture(scope="session")
def polygons(scene_folder, tmp_path_factory, legend):
    """Both label rasters as polygons with the names of their classes; half of them are left out."""
    found = []
    for name in ("east", "west"):
        with rasterio.open(scene_folder / "labels" / f"{name}.tif") as file:
            values = file.read(1)
            traced = list(shapes(values, mask=values != 255, transform=file.transform))
            names = dict(zip(legend.ids, legend.names, strict=True))
            found += [(names[int(v)], shapely.geometry.shape(shape)) for shape, v in traced[::2]]
            crs = file.crs
    path = tmp_path_factory.mktemp("polygons") / "labels.gpkg"
    classes, geometry = zip(*found, strict=True)
    gpd.GeoDataFrame({"class": classes}, geometry=list(geometry), crs=crs).to_file(path)
    return path


def test_training_writes_one_model_that_predicts(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    result = run(*train_arguments(scene_folder, out, licence="CC0-1.0", attribution="us"))
    assert result.exit_code == 0, result.output
    card = load_model(out).card
    assert card.bands == ("red", "green", "blue")
    assert card.legend.names == ("building", "land", "road", "vegetation", "water")
    assert card.data.training_scenes == ("east",)
    assert card.data.validation_scenes == ("west",)
    assert (card.data.licence, card.data.attribution) == ("CC0-1.0", "us")
    assert card.resolution_m == pytest.approx((0.25, 1.0), rel=1e-2)
    assert card.best_resolution_m == pytest.approx(0.5, rel=1e-2)
    assert 0 <= card.metrics["overall_accuracy"] <= 1
    assert str(tmp_path) not in card.to_json()
    assert "validation mIoU" in result.stdout
    assert card.metrics["prior_use"]["use"] == pytest.approx(
        card.metrics["prior_use"]["miou"] - card.metrics["prior_use"]["miou_other_prior"]
    )
    assert [level["stride"] for level in card.metrics["prior_use"]["levels"]] == [8, 16, 32]
    assert card.metrics["prior"]["noise_variance_of_mean"] == pytest.approx(0, abs=1e-6)
    assert "prior use: mIoU" in result.stderr
    table = (tmp_path / "m.run/segmentation").rglob("metrics.csv")
    assert "prior_use" in next(table).read_text().partition("\n")[0]
    scene = scene_folder / "images/west.tif"
    assert run("predict", scene, "--out", tmp_path / "w.tif", "-m", out).exit_code == 0


def test_nothing_trains_a_prior_unless_it_is_asked_for(tmp_path, scene_folder):
    assert preset(TrainSettings.preset).head.prior == "none"
    out = tmp_path / "m.safetensors"
    options = {"preset": "cpu_smoke+plain", "prior-steps": 1, "steps": 1}
    result = run(*train_arguments(scene_folder, out, **options))
    assert result.exit_code == 0, result.output
    assert "--prior-steps: this network has no prior" in result.stderr
    model = load_model(out)
    assert model.network.prior is None
    assert "prior" not in model.card.metrics
    assert "prior_use" not in model.card.metrics


def test_chips_that_no_neighbourhood_fits_in_are_warned_of(tmp_path, scene_folder):
    options = {"prior-steps": 1, "steps": 1}
    found = run(*train_arguments(scene_folder, tmp_path / "a.safetensors", **options))
    assert "chips of 64 pixels are smaller than one neighbourhood" in found.output
    options |= {"chip-size": 224, "batch-size": 1}
    found = run(*train_arguments(scene_folder, tmp_path / "b.safetensors", **options))
    assert found.exit_code == 0, found.output
    assert "smaller than one neighbourhood" not in found.output


def test_stage_two_trains_the_host_and_leaves_the_prior_alone(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    assert run(*train_arguments(scene_folder, out)).exit_code == 0
    final = load_model(out).network
    before = load_model(tmp_path / "m.run" / "prior.safetensors").network
    # BatchNorm counts the batches it sees in training mode.
    assert final.decoder.enter[1].num_batches_tracked == 3
    for name, tensor in before.prior.state_dict().items():
        # What is kept to go on from is in full precision, the model file in half.
        stored = tensor.half().float() if tensor.dim() >= 2 else tensor
        np.testing.assert_array_equal(stored, final.prior.state_dict()[name], err_msg=name)


def test_the_prior_of_a_model_can_be_reused(tmp_path, scene_folder):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert run(*train_arguments(scene_folder, first)).exit_code == 0
    arguments = train_arguments(scene_folder, second, prior=first, seed=5)
    assert run(*arguments).exit_code == 0
    one, other = (load_model(path).network for path in (first, second))
    for name, tensor in one.prior.state_dict().items():
        np.testing.assert_array_equal(tensor, other.prior.state_dict()[name])
    assert one.temperature == other.temperature


def test_the_stages_one_after_the_other_are_both_at_once(tmp_path, scene_folder):
    parts, whole = tmp_path / "parts.safetensors", tmp_path / "whole.safetensors"
    first = tmp_path / "first.safetensors"
    assert run(*train_arguments(scene_folder, first, stage="prior")).exit_code == 0
    refused = run(
        "predict", scene_folder / "images/west.tif", "--out", tmp_path / "w.tif", "-m", first
    )
    assert refused.exit_code == 4
    assert "holds a prior only" in refused.stderr
    options = {"stage": "segmentation", "prior": first}
    assert run(*train_arguments(scene_folder, parts, **options)).exit_code == 0
    assert run(*train_arguments(scene_folder, whole)).exit_code == 0
    one, other = load_model(parts), load_model(whole)
    assert one.card.has_segmentation
    for name, tensor in other.network.prior.state_dict().items():
        np.testing.assert_array_equal(tensor, one.network.prior.state_dict()[name], err_msg=name)
    assert one.card.metrics["miou"] == pytest.approx(other.card.metrics["miou"], abs=0.05)


def test_a_bare_host_starts_from_the_encoder_of_a_prior(tmp_path, scene_folder):
    first, bare = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert run(*train_arguments(scene_folder, first, stage="prior")).exit_code == 0
    # At this rate one step moves nothing, and what is fixed stays as it was taken over.
    options = {"preset": "cpu_smoke-host", "prior": first, "rate": 1e-12, "steps": 1}
    assert run(*train_arguments(scene_folder, bare, **options)).exit_code == 0
    learned = load_model(first).network.prior.condition.body.state_dict()
    taken = load_model(bare).network.backbone.state_dict()
    shared = [n for n in learned if n in taken and "running" not in n and "num" not in n]
    assert len(shared) >= 30
    for name in shared:
        torch.testing.assert_close(taken[name], learned[name], atol=1e-3, rtol=1e-2, msg=name)


def test_a_bare_host_refuses_a_prior_with_another_encoder(tmp_path, scene_folder, tiny_model):
    options = {"preset": "cpu_smoke-host", "prior": tiny_model}
    refused = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", **options))
    assert refused.exit_code == 4
    assert "has no prior whose encoder is a resnet18" in refused.stderr


def test_classes_come_from_the_training_scenes_alone(tmp_path, write_raster):
    rng = np.random.default_rng(0)
    for name, ids in (("a", (0, 1, 3)), ("b", (0, 1, 2, 3))):
        for folder, array in (
            ("images", rng.integers(0, 255, (3, 80, 80)).astype(np.uint8)),
            ("labels", rng.choice(ids, (80, 80)).astype(np.uint8)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_raster(array, f"{folder}/{name}.tif")
    out = tmp_path / "m.safetensors"
    arguments = train_arguments(tmp_path, out, legend=None, **{"val-scenes": "b"})
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "left out of the classes: 2" in result.stderr
    card = load_model(out).card
    assert card.legend.ids == (0, 1, 3)
    with rasterio.open(tmp_path / "labels" / "b.tif") as file:
        assert card.metrics["pixels"] == (file.read(1) != 2).sum()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"val-scenes": "north"}, 2, "The scenes are east, west"),
        ({"chip-size": 50}, 2, "--chip-size 50"),
        ({"steps": 0}, 2, "--steps 0"),
        ({"preset": "huge"}, 2, "no preset 'huge'"),
        ({"min-scale": 2}, 2, "--min-scale"),
        ({"legend": "none.json"}, 2, "no such legend"),
        ({"images": "nowhere"}, 2, "no such file or folder"),
        ({"band": "1,2,9"}, 2, "--band 9"),
        ({"val-split": 0.3}, 2, "exclude each other"),
        ({"val-split": 0.9, "val-scenes": None}, 2, "not between 0 and 0.5"),
        ({"val-split": 0.2, "val-scenes": None, "images": "EAST"}, 2, "too small to hold out"),
        ({"val-scenes": None, "val-images": "EAST"}, 2, "belong together"),
        ({"from": "nowhere.safetensors"}, 2, "no such model file"),
        ({"from": "default", "prior": "x.safetensors"}, 2, "Leave out --prior"),
        ({"labels": "POLYGONS", "class-field": "type"}, 2, "no column 'type'"),
        ({"stage": "segmentation"}, 2, "needs a prior"),
        ({"stage": "prior", "prior": "x.safetensors"}, 2, "takes no --prior"),
        ({"stage": "prior", "preset": "cpu_smoke-host"}, 2, "has no prior to train"),
    ],
)
def test_impossible_trainings_are_refused_before_they_start(
    tmp_path, scene_folder, polygons, options, code, words
):
    places = {"EAST": scene_folder / "images" / "east.tif", "POLYGONS": polygons}
    options = {key: places.get(value, value) for key, value in options.items()}
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", **options))
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_model_file_must_say_what_it_is(tmp_path, scene_folder):
    result = run(*train_arguments(scene_folder, tmp_path / "m.pth"))
    assert result.exit_code == 2
    assert "safetensors" in result.stderr


def test_polygons_are_labels_and_their_classes_the_legend(tmp_path, scene_folder, polygons):
    out = tmp_path / "m.safetensors"
    result = run(*train_arguments(scene_folder, out, labels=polygons, legend=None))
    assert result.exit_code == 0, result.output
    assert "classes of the labels: 0 building, 1 land, 2 road" in result.stderr
    card = load_model(out).card
    assert card.legend.names == ("building", "land", "road", "vegetation", "water")
    assert card.data.validation_scenes == ("west",)


def test_whole_scenes_are_held_out_where_there_are_several(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    arguments = train_arguments(scene_folder, out, **{"val-scenes": None, "val-split": 0.3})
    assert run(*arguments).exit_code == 0
    data = load_model(out).card.data
    assert len(data.training_scenes) == len(data.validation_scenes) == 1
    assert set(data.training_scenes + data.validation_scenes) == {"east", "west"}


def test_other_images_can_be_measured_on(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    options = {
        "val-scenes": None,
        "images": scene_folder / "images" / "east.tif",
        "labels": scene_folder / "labels" / "east.tif",
        "val-images": scene_folder / "images" / "west.tif",
        "val-labels": scene_folder / "labels" / "west.tif",
    }
    assert run(*train_arguments(scene_folder, out, **options)).exit_code == 0
    data = load_model(out).card.data
    assert (data.training_scenes, data.validation_scenes) == (("east",), ("west",))


def test_a_dry_run_tells_and_writes_nothing(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    result = run(*train_arguments(scene_folder, out), "--dry-run")
    assert result.exit_code == 0, result.output
    for words in ("training scenes    east", "validation scenes  west", "class water", "3 steps"):
        assert words in result.stdout
    assert re.search(
        r"^time +about \d+ s \([\d.]+ s, [\d.]+ s for a step\)", result.stdout, re.MULTILINE
    )
    shares = [
        float(line.split("%")[0].split()[-1])
        for line in result.stdout.splitlines()
        if line.startswith("class ")
    ]
    assert sum(shares) == pytest.approx(100, abs=0.05)
    assert not list(tmp_path.iterdir())


def test_a_damaged_scene_is_left_out(tmp_path, scene_folder):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for folder in (images, labels):
        good = scene_folder / folder.name / "east.tif"
        (folder / "east.tif").write_bytes(good.read_bytes())
        (folder / "bad.tif").write_bytes(good.read_bytes()[:50])
    options = {"images": images, "labels": labels, "val-scenes": None}
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", **options))
    assert result.exit_code == 0, result.output
    assert "left out:" in result.stderr
    assert "bad.tif" in result.stderr
    (images / "east.tif").write_bytes(b"no raster")
    result = run(*train_arguments(scene_folder, tmp_path / "n.safetensors", **options))
    assert result.exit_code == 1
    assert "cannot be opened" in result.stderr


@pytest.fixture(scope="session")
def donor(tmp_path_factory, scene_folder):
    """A model of five classes."""
    out = tmp_path_factory.mktemp("donor") / "donor.safetensors"
    assert run(*train_arguments(scene_folder, out)).exit_code == 0
    return out


def test_training_goes_on_from_a_model(tmp_path, scene_folder, donor):
    out = tmp_path / "m.safetensors"
    result = run(
        *train_arguments(scene_folder, out, **{"from": donor, "prior-steps": 0, "steps": 1}),
        "--freeze", "backbone",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "new classes: none" in result.stderr
    old, new = load_model(donor), load_model(out)
    assert str(donor.parent) not in new.card.to_json()
    for part in ("prior", "backbone"):
        known = getattr(old.network, part).state_dict()
        for name, tensor in getattr(new.network, part).state_dict().items():
            np.testing.assert_array_equal(tensor, known[name], err_msg=name)
    step = old.network.decoder.classify[2].weight - new.network.decoder.classify[2].weight
    assert 0 < step.abs().max() < 0.01


def test_a_model_of_other_classes_gives_what_fits(tmp_path, scene_folder, donor):
    model = load_model(donor)
    config = replace(model.card.config, classes=2)
    legend = replace(model.card.legend, classes=model.card.legend.classes[3:])
    save_model(
        tmp_path / "two.safetensors",
        build(config),
        replace(model.card, config=config, legend=legend),
    )
    out = tmp_path / "m.safetensors"
    start = tmp_path / "two.safetensors"
    result = run(*train_arguments(scene_folder, out, **{"from": start}))
    assert result.exit_code == 0, result.output
    assert "new classes: building, land, road" in result.stderr
    assert load_model(out).card.legend.names[3:] == ("vegetation", "water")


def test_a_class_that_never_occurs_is_told(tmp_path, scene_folder, legend):
    import json

    values = legend.to_dict()
    values["classes"].append({"id": 77, "name": "glacier", "color": "#fefefe"})
    (tmp_path / "more.json").write_text(json.dumps(values))
    arguments = train_arguments(
        scene_folder, tmp_path / "m.safetensors", legend=tmp_path / "more.json"
    )
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "no training pixel is labelled glacier" in result.stderr


@pytest.mark.slow
def test_two_minutes_of_training_map_an_unseen_scene(tmp_path):
    import make_scene

    for name, seed in (("east", 1), ("west", 2)):
        make_scene.write_scene(tmp_path, name, seed=seed)
    out = tmp_path / "m.safetensors"
    options = {
        "prior-steps": 100,
        "steps": 200,
        "chip-size": 128,
        "batch-size": 8,
        "val-every": 200,
        "prior-rate": 1e-3,
        "rate": 1e-3,
    }
    result = run(*train_arguments(tmp_path, out, **options))
    assert result.exit_code == 0, result.output
    assert load_model(out).card.metrics["miou"] > 0.7


@pytest.mark.parametrize(
    ("options", "install"),
    [
        (["--tensorboard"], 'pip install "hyseg[tensorboard]"'),
        (["--logger", "mlflow"], "pip install mlflow"),
        (["--logger", "wandb"], "pip install wandb"),
    ],
)
def test_without_its_package_a_logger_is_refused_with_what_to_install(
    tmp_path, scene_folder, monkeypatch, options, install
):
    monkeypatch.setattr("hyseg_cli.learn.training.loggers.find_spec", lambda _: None)
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors"), *options)
    assert result.exit_code == 2
    assert install in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def made_loggers(monkeypatch):
    """The loggers of Lightning, which note how they are made instead of logging."""
    from hyseg_cli.learn.training import loggers

    made = {}
    monkeypatch.delenv(loggers.SERVER, raising=False)

    def note(kind):
        def make(*_, **named):
            made[kind] = named
            return SimpleNamespace(experiment=None)

        return make

    for kind in ("MLFlowLogger", "WandbLogger"):
        monkeypatch.setattr(loggers, kind, note(kind))
    return made


def test_loggers_write_nothing_beside_the_run_folder(tmp_path, made_loggers):
    make_loggers(("wandb", "mlflow"), tmp_path / "my.run", "prior", "after_3")
    wandb, mlflow = made_loggers["WandbLogger"], made_loggers["MLFlowLogger"]
    assert wandb["name"] == mlflow["run_name"] == "my prior after_3"
    for place in (wandb["save_dir"], mlflow["tracking_uri"].removeprefix("sqlite:///")):
        assert Path(place).is_relative_to(tmp_path / "my.run")


def test_a_server_of_mlflow_is_used_if_the_environment_names_one(
    tmp_path, made_loggers, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here:5000")
    make_loggers(("mlflow",), tmp_path / "my.run", "prior", "")
    assert made_loggers["MLFlowLogger"]["tracking_uri"] == "http://here:5000"


def test_a_logger_that_cannot_begin_is_an_error_in_words(tmp_path, monkeypatch):
    class Offline:
        def __init__(self, *_, **__):
            pass

        @property
        def experiment(self):
            raise OSError("no such server")

    monkeypatch.setattr("hyseg_cli.learn.training.loggers.WandbLogger", Offline)
    with pytest.raises(HysegError, match=r"`logger` wandb .*\(no such server\)"):
        make_loggers(("wandb",), tmp_path / "my.run", "prior", "")


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_gets_a_log_of_each_stage(tmp_path, scene_folder):
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors"), "--tensorboard")
    assert result.exit_code == 0, result.output
    for stage in ("prior", "segmentation"):
        assert list((tmp_path / "m.run" / stage).glob("events.out.tfevents.*"))


def test_a_benchmark_brings_its_classes_and_its_split(tmp_path):
    rng = np.random.default_rng(0)
    for split, numbers in (("Train", (1, 2)), ("Val", (3,))):
        for number in numbers:
            for folder, array in (
                ("images_png", rng.integers(0, 255, (96, 96, 3))),
                ("masks_png", np.kron(rng.integers(0, 8, (6, 6)), np.ones((16, 16)))),
            ):
                path = tmp_path / split / "Rural" / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(path)
    out = tmp_path / "m.safetensors"
    options = {"images": None, "labels": None, "legend": None, "val-scenes": None}
    given = train_arguments(tmp_path, out, **options, benchmark="loveda", root=tmp_path)
    result = run(*given)
    assert result.exit_code == 0, result.output
    card = load_model(out).card
    assert card.legend.names[0] == "background"
    assert card.data.name == "LoveDA"
    assert card.data.training_scenes == ("Rural/1", "Rural/2")
    assert card.data.validation_scenes == ("Rural/3",)
    refused = run(*given, "--overwrite", "--val-split", "0.2")
    assert refused.exit_code == 2
    assert "has a split" in refused.stderr
