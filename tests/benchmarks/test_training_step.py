"""What a step of a training costs with the features of a frozen backbone kept, and without."""

from __future__ import annotations

import platform
import time
from itertools import pairwise
from statistics import median

import pytest
import torch

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_cli.learn.training.features import CHIPS_PER_FILE, FeatureChips, backbone_aside
from hyseg_cli.learn.training.fit import FitOptions, fit
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_cli.learn.training.stages import SegmentationStage
from hyseg_cli.messages import Silence
from hyseg_models import build, preset

SIDE, BATCH, STEPS = 256, 8, 5
CPU = torch.device("cpu")


class Chips(torch.utils.data.Dataset):
    """Chips of noise, ready at once: reading and augmenting real ones would cost more."""

    first = 0

    def __len__(self):
        return STEPS * BATCH

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index % CHIPS_PER_FILE)
        return {
            "image": torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator),
            "valid": torch.ones(1, SIDE, SIDE, dtype=torch.bool),
            "labels": torch.randint(0, 6, (SIDE, SIDE), generator=generator),
            "origin": torch.zeros(2, dtype=torch.int64),
        }

    def place(self, index):
        return f"chip {index}"


class TimedStage(SegmentationStage):
    """Notes the processor's time at which each step begins."""

    def training_step(self, batch, index):
        self.starts.append(time.process_time())
        return super().training_step(batch, index)


def seconds_per_step(network, chips, folder, precision):
    """Processor seconds from the beginning of a step to that of the next, the median."""
    standardise = Standardise(Radiometry((120.0,) * 3, (60.0,) * 3))
    recipe = Recipe(steps=STEPS, learning_rate=1e-4, encoder_rate=1e-4)
    stage = TimedStage(network, standardise, recipe)
    stage.starts = []
    options = FitOptions(
        batch_size=BATCH, workers=0, val_every=STEPS, device=CPU, precision=precision,
        log_folder=folder, save_every=STEPS,
    )  # fmt: skip
    fit(stage, chips, None, None, name="segmentation", options=options, messages=Silence())
    # The first step warms up.
    return median(end - start for start, end in pairwise(stage.starts[1:]))


@pytest.mark.bench
@pytest.mark.parametrize("name", ["vit+plain", "vit"])
def test_print_what_a_step_costs_with_features_kept_and_without(name, tmp_path, capsys):
    torch.set_num_threads(1)
    network = build(preset(name))
    standardise = Standardise(Radiometry((120.0,) * 3, (60.0,) * 3))
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, one thread; {name}, "
            f"{BATCH} chips of {SIDE} x {SIDE}; medians of {STEPS - 2} steps, processor time"
        )
        print("precision    without    features kept    ratio")
        for precision in ("float32", "bfloat16"):
            whole = seconds_per_step(network, Chips(), tmp_path / f"{precision}.run", precision)
            kept = FeatureChips(
                tmp_path / precision, Chips(), size=CHIPS_PER_FILE, count=STEPS * BATCH, seed=0
            )
            kept.fill(network, standardise, CPU, lambda *_: None, precision=precision)
            with backbone_aside(network):
                short = seconds_per_step(
                    network, kept, tmp_path / f"{precision}-kept.run", precision
                )
            print(f"{precision:10} {whole:8.2f} s {short:14.2f} s {short / whole:8.2f}", flush=True)
