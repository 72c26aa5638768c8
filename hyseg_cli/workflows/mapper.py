"""A model on a device, ready to map scenes with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hyseg_cli.geo.scene import open_scene
from hyseg_cli.geo.units import Unit
from hyseg_cli.geo.work import WorkFolder
from hyseg_cli.learn.augmented import VIEWS
from hyseg_cli.learn.card import ModelCard, built_in_model, load_model
from hyseg_cli.learn.contract import match
from hyseg_cli.learn.device import choose_device
from hyseg_cli.learn.infer import Predictor
from hyseg_cli.learn.stitch import Classify
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.mapping import Advance, map_units
from hyseg_cli.workflows.mapping_plan import Plan, make_plan
from hyseg_cli.workflows.scene_list import Job


@dataclass(frozen=True)
class Mapper:
    """What all scenes of a run share."""

    settings: PredictSettings
    card: ModelCard
    digest: str
    """Hash of the model file."""
    classify: Classify

    @classmethod
    def load(cls, settings: PredictSettings, device: str | None = None) -> Mapper:
        """Load the model.

        Args:
            settings: What was asked for.
            device: Another device than theirs.

        Raises:
            HysegError: If the model or the device cannot be used.
        """
        chosen = choose_device(device or settings.device)
        model = load_model(settings.model or built_in_model())
        classify = Predictor(
            model, chosen, seed=settings.seed, noise=settings.noise, views=VIEWS[settings.tta]
        )
        return cls(settings, model.card, model.digest, classify)

    def plan(self, job: Job) -> tuple[Plan, tuple[str, ...]]:
        """How a scene is mapped, and what may cost accuracy.

        Raises:
            HysegError: If the scene cannot be read or does not fit the model.
        """
        scene = open_scene(job.part_of or job.scene)
        contract = match(scene, self.card, self.settings.bands)
        precision = "bfloat16" if self.classify.device.type == "cuda" else "float32"
        plan = make_plan(
            scene, contract.bands, self.card, self.digest, precision, job, self.settings
        )
        return plan, contract.warnings

    def map_units(
        self, plan: Plan, work: WorkFolder, units: Iterable[Unit], advance: Advance
    ) -> None:
        """Write the shards of units that are missing."""
        map_units(plan, work, units, self.classify, self.settings.batch_size, advance)

    def try_tile(self, plan: Plan) -> None:
        """Run the network on a batch of blank tiles of a scene."""
        rows, cols = plan.grid.rows.length, plan.grid.cols.length
        shape = (self.settings.batch_size, len(plan.bands), rows, cols)
        image = torch.zeros(shape, dtype=torch.uint8)
        valid = torch.ones(shape[0], 1, rows, cols, dtype=torch.bool)
        self.classify(image, valid, torch.zeros(shape[0], 2, dtype=torch.int64)).cpu()
