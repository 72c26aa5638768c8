"""One process of a training of stage 1: SCENES OUT [STOP]; ends with status 3 after step STOP."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from conftest import tiny_config

from hyseg_cli.learn.data.chips import Augmentation, TrainingChips, ValidationChips
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.training import fit
from hyseg_cli.learn.training.processes import find_processes
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_cli.learn.training.stages import PriorStage
from hyseg_cli.legend import read_legend
from hyseg_cli.messages import Silence
from hyseg_models import build

STEPS, BATCH = 4, 4


def train(folder: Path, out: Path) -> PriorStage:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    legend = read_legend(folder / "legend.json")
    scenes = open_pairs(find_pairs(folder / "images", folder / "labels"), legend)
    # No BatchNorm, whose statistics would differ between a half and a whole batch.
    config = tiny_config().override({"prior.condition.kind": "stem"})
    recipe = Recipe(steps=STEPS, learning_rate=1e-3, encoder_rate=1e-3, seed=5)
    standardise = Standardise(Radiometry((120.0,) * 3, (50.0,) * 3))
    stage = PriorStage(build(config), standardise, recipe)
    options = fit.FitOptions(
        batch_size=BATCH,
        workers=0,
        val_every=STEPS,
        device=torch.device("cpu"),
        log_folder=out,
        save_every=2,
        processes=find_processes(1),
        precision="float32",
        resume=(out / "prior" / fit.LAST).is_file(),
    )
    chips = TrainingChips(
        scenes[:1], size=64, count=STEPS * BATCH, seed=1, augmentation=Augmentation()
    )
    validation = ValidationChips(scenes[1:], size=128)
    with patch.object(fit, "LOG_EVERY", 1):
        fit.fit(stage, chips, validation, legend, name="prior", options=options, messages=Silence())
    return stage


class Stopping(fit.Saving):
    def on_train_batch_end(self, trainer, *rest):
        super().on_train_batch_end(trainer, *rest)
        if trainer.global_step == int(sys.argv[3]):
            sys.exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        fit.Saving = Stopping
    train(Path(sys.argv[1]), Path(sys.argv[2]))
