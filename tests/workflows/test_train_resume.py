"""Trainings that are stopped, go on, or fail on their way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from workflows.training import run, train_arguments

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.learn.training import fit
from hyseg_cli.learn.training import stages as modules
from hyseg_cli.learn.training.checkpoint import SafetensorsIO
from hyseg_cli.workflows.train import prior

SPACE_STEPS = 12
"""Of a learned label space, instead of hundreds."""

STOPPING = f"""
import os, sys
from hyseg_cli.learn.training import fit
from hyseg_cli.workflows.train import prior
prior.SPACE_STEPS = {SPACE_STEPS}
stage, step, number = sys.argv[1], *map(int, sys.argv[2:4])
class Stopped(fit.Saving):
    def on_train_batch_end(self, trainer, *rest):
        at_step = self.path.parent.name == stage and trainer.global_step == step
        if at_step and number != 9:
            os.kill(os.getpid(), number)
        super().on_train_batch_end(trainer, *rest)
        if at_step:
            os.kill(os.getpid(), number)
fit.Saving = Stopped
from hyseg_cli.cli.group import cli
cli(sys.argv[4:])
"""


def stopped(arguments, *, stage, step, by):
    """A training that gets a signal at a step; by SIGKILL after its state is saved."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STOPPING, stage, str(step), str(int(by))]
        + [str(part) for part in arguments],
        check=False,
        # Sums depend on how many threads share them.
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("stage", "step", "saved"), [("prior", 5, 4), ("segmentation", 6, 6)])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, scene_folder, stage, step, saved):
    arguments = {"prior-steps": 6, "steps": 6, "val-every": 3, "save-every": 2, "seed": 3}
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    assert run(*train_arguments(scene_folder, whole, **arguments)).exit_code == 0
    given = train_arguments(scene_folder, killed, **arguments)
    done = stopped(given, stage=stage, step=step, by=signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL
    assert not killed.exists()
    result = run(*given, "--resume")
    assert result.exit_code == 0, result.output
    assert f"the {stage} continues after step {saved}" in result.stderr
    one, other = load_model(whole), load_model(killed)
    for name, tensor in one.network.state_dict().items():
        np.testing.assert_allclose(
            tensor, other.network.state_dict()[name], rtol=1e-6, atol=1e-7, err_msg=name
        )
    assert one.card.metrics == other.card.metrics
    maps = []
    for model in (whole, killed):
        out = tmp_path / f"{model.stem}.tif"
        mapped = run("predict", scene_folder / "images/west.tif", "--out", out, "-m", model)
        assert mapped.exit_code == 0, mapped.output
        with rasterio.open(out) as file:
            maps.append(file.read(1))
    np.testing.assert_array_equal(*maps)


def test_a_prior_in_a_learned_label_space_goes_on_in_the_same_space(
    tmp_path, scene_folder, monkeypatch
):
    monkeypatch.setattr(prior, "SPACE_STEPS", SPACE_STEPS)
    arguments = {"preset": "paper+cpu_smoke", "prior-steps": 6, "steps": 2, "save-every": 2}
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    done = run(*train_arguments(scene_folder, whole, **arguments))
    assert done.exit_code == 0, done.output
    assert "label space: 16 channels" in done.stderr
    given = train_arguments(scene_folder, killed, **arguments)
    assert stopped(given, stage="prior", step=5, by=signal.SIGKILL).returncode == -signal.SIGKILL
    assert run(*given, "--resume").exit_code == 0
    one, other = (load_model(path).network for path in (whole, killed))
    assert one.prior.labels.is_fitted
    for name, tensor in one.state_dict().items():
        np.testing.assert_allclose(
            tensor, other.state_dict()[name], rtol=1e-6, atol=1e-7, err_msg=name
        )


@pytest.mark.parametrize(("by", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_stop_keeps_its_state_and_says_so(
    tmp_path, scene_folder, by, status
):
    out = tmp_path / "m.safetensors"
    arguments = train_arguments(scene_folder, out, **{"prior-steps": 8, "save-every": 8})
    done = stopped(arguments, stage="prior", step=2, by=by)
    assert done.returncode == status, done.stderr
    assert not out.exists()
    line = f"Stopped by {by.name} after step 2 of the prior; continue with --resume"
    assert line in done.stderr.splitlines()[-1]
    assert "Error" not in done.stderr
    kept = SafetensorsIO().load_checkpoint(tmp_path / "m.run" / "prior" / "last.safetensors")
    assert kept["global_step"] == 2


def test_the_model_is_the_best_of_all_validations(tmp_path, scene_folder, monkeypatch):
    # A score that falls from step to step, whatever is learned: the first validation is best.
    monkeypatch.setattr(
        modules.SegmentationStage, "watched", property(lambda stage: -stage.global_step)
    )
    out = tmp_path / "m.safetensors"
    options = {"prior-steps": 1, "steps": 9, "val-every": 1, "patience": 2}
    result = run(*train_arguments(scene_folder, out, **options))
    assert result.exit_code == 0, result.output
    folder = tmp_path / "m.run" / "segmentation"
    last = SafetensorsIO().load_checkpoint(folder / "last.safetensors")
    assert last["global_step"] == 3  # two validations without a better one
    assert "taken from step 1" in result.stderr
    assert load_model(out).card.metrics["step"] == 1
    best = SafetensorsIO().load_checkpoint(folder / "best.safetensors")["state_dict"]
    written = load_model(out).network.state_dict()
    name = "decoder.classify.2.bias"
    assert torch.equal(written[name], best[f"network.{name}"])
    assert not torch.equal(written[name], last["state_dict"][f"network.{name}"])
    assert [path.name for path in sorted((folder / "pictures").iterdir())] == [
        f"step-{step:06d}.png" for step in (1, 2, 3)
    ]


def test_the_best_step_of_a_run_that_was_stopped_is_found_and_measured(
    tmp_path, scene_folder, monkeypatch
):
    monkeypatch.setattr(
        modules.SegmentationStage, "watched", property(lambda stage: -stage.global_step)
    )

    class Broken(fit.Saving):
        def on_train_batch_end(self, trainer, *rest):
            super().on_train_batch_end(trainer, *rest)
            if self.path.parent.name == "segmentation" and trainer.global_step == 3:
                raise HysegError("the power is gone", hint="Wait.")

    out = tmp_path / "m.safetensors"
    arguments = train_arguments(scene_folder, out, **{"prior-steps": 1, "val-every": 1})
    with monkeypatch.context() as patched:
        patched.setattr(fit, "Saving", Broken)
        assert run(*arguments).exit_code == 1
    result = run(*arguments, "--resume")
    assert result.exit_code == 0, result.output
    assert "continues after step 3" in result.stderr
    assert "taken from step 1" in result.stderr
    card = load_model(out).card
    assert card.metrics["step"] == 1
    assert card.metrics["pixels"] > 0


def test_a_run_with_other_settings_does_not_go_on(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    assert run(*train_arguments(scene_folder, out)).exit_code == 0
    out.unlink()
    result = run(*train_arguments(scene_folder, out, **{"batch-size": 5}), "--resume")
    assert result.exit_code == 3
    assert "another --batch-size: 4, not 5" in result.stderr


def test_a_run_of_an_earlier_version_goes_on_with_what_that_version_did(tmp_path, scene_folder):
    out = tmp_path / "model.safetensors"
    arguments = {"prior-steps": 0, "steps": 4, "save-every": 2, "preset": "cpu_smoke+plain"}
    given = train_arguments(scene_folder, out, **arguments)
    done = stopped(given, stage="segmentation", step=2, by=signal.SIGTERM)
    assert done.returncode == 143
    folder = out.with_suffix(".run")
    manifest = folder / "run.json"
    known = json.loads(manifest.read_text())
    later = ("precision", "feature_space", "sources", "backbone_weights")
    known = {k: v for k, v in known.items() if k not in later}
    manifest.write_text(json.dumps(known | {"unfreeze": False}))  # a flag, once
    (folder / "precision.txt").unlink()
    done = run(*given, "--resume")
    assert done.exit_code == 0, done.stderr
    assert (folder / "precision.txt").read_text() == "float32"


def test_the_checkpoint_of_another_network_is_refused(tmp_path, scene_folder):
    out = tmp_path / "model.safetensors"
    arguments = {"prior-steps": 0, "steps": 4, "save-every": 2, "preset": "cpu_smoke+plain"}
    given = train_arguments(scene_folder, out, **arguments)
    assert stopped(given, stage="segmentation", step=2, by=signal.SIGTERM).returncode == 143
    manifest = out.with_suffix(".run") / "run.json"
    other = "cpu_smoke+ablation-host"
    manifest.write_text(manifest.read_text().replace("cpu_smoke+plain", other))
    given = train_arguments(scene_folder, out, **arguments | {"preset": other})
    done = run(*given, "--resume")
    assert done.exit_code == 3
    assert "the checkpoint holds another network" in done.stderr


def test_the_folder_of_a_stopped_run_is_not_thrown_away(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    assert run(*train_arguments(scene_folder, out)).exit_code == 0
    out.unlink()
    checkpoint = tmp_path / "m.run" / "prior.safetensors"
    result = run(*train_arguments(scene_folder, out))
    assert result.exit_code == 3
    assert "--resume" in result.stderr
    assert checkpoint.exists()
    (tmp_path / "n.run").mkdir()
    (tmp_path / "n.run" / "thesis.txt").write_text("mine")
    arguments = train_arguments(scene_folder, tmp_path / "n.safetensors")
    for flags in ([], ["--overwrite"], ["--resume"]):
        result = run(*arguments, *flags)
        assert result.exit_code == 3
        assert "no training wrote it" in result.stderr
    assert (tmp_path / "n.run" / "thesis.txt").read_text() == "mine"


def test_a_loss_that_is_no_number_stops_with_its_place(tmp_path, scene_folder, monkeypatch):
    def no_number(output, _labels, **_):
        return output.logits.sum() * float("nan")

    monkeypatch.setattr(modules, "segmentation_loss", no_number)
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors"))
    assert result.exit_code == 1
    assert "the loss is nan at step" in result.stderr
    assert "east.tif, " in result.stderr


def test_a_batch_that_memory_cannot_hold_is_computed_in_parts(tmp_path, scene_folder, monkeypatch):
    whole, out = modules.SegmentationStage.loss, tmp_path / "m.safetensors"

    def short_of_memory(stage, batch, *rest):
        if len(batch["labels"]) > stage.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(stage, batch, *rest)

    monkeypatch.setattr(modules.SegmentationStage, "loss", short_of_memory)
    monkeypatch.setattr(modules.SegmentationStage, "room", 1, raising=False)
    result = run(*train_arguments(scene_folder, out))
    assert result.exit_code == 0, result.output
    assert "from step 1 on each batch is computed in 4 parts" in result.stderr
    monkeypatch.setattr(modules.SegmentationStage, "room", 0)
    result = run(*train_arguments(scene_folder, out), "--overwrite")
    assert result.exit_code == 1
    assert "one chip of 64 pixels does not fit (CUDA out of memory)" in result.stderr
    assert "--chip-size" in result.stderr
