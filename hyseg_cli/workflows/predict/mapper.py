"""A model on a device, ready to map scenes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.learn.inference.augmentation import VIEWS
from hyseg_cli.learn.inference.predictor import Predictor, choose_device, tiles_at_once
from hyseg_cli.learn.inference.resample import AtOtherResolution
from hyseg_cli.learn.inference.stitch import Classify
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job
from hyseg_cli.workflows.predict.mapping import Advance, map_blocks
from hyseg_cli.workflows.predict.plan import Part, Plan, inspect_scene, make_plan


@dataclass(frozen=True)
class Planner:
    """The facts about a model that planning needs, on whatever machine it will run."""

    settings: PredictSettings
    card: ModelCard
    digest: str
    """Hash of the model file."""
    precision: str
    """Floating-point format of the network."""

    @classmethod
    def load(cls, settings: PredictSettings, device_type: str) -> Planner:
        """Read the card of the model.

        Args:
            settings: The settings of the run.
            device_type: Where it will run, cpu or cuda.

        Raises:
            HysegError: If the model cannot be used.
        """
        model = load_model(find_model(settings.model))
        return cls(settings, model.card, model.digest, _precision_on(device_type, settings))

    def plan(self, job: Job) -> Plan:
        """How a scene is mapped.

        Raises:
            HysegError: If the scene cannot be read or does not fit the model.
        """
        part = None
        if job.itself is not None and job.window is not None:
            part = Part(job.itself, job.window)
        inspection = inspect_scene(job.part_of or job.scene, self.card, self.settings, part)
        return make_plan(inspection, self.card, self.digest, self.precision, job, self.settings)


@dataclass(frozen=True)
class Mapper:
    """What all scenes of a run share."""

    planner: Planner
    classify: Classify

    @classmethod
    def load(cls, settings: PredictSettings, device: str | None = None) -> Mapper:
        """Load the model.

        Args:
            settings: The settings of the run.
            device: Another device than theirs.

        Raises:
            HysegError: If the model or the device cannot be used.
        """
        chosen = choose_device(device or settings.device)
        model = load_model(find_model(settings.model))
        classify = Predictor(
            model,
            chosen,
            seed=settings.seed,
            noise=settings.noise,
            views=VIEWS[settings.tta],
            compiled=settings.compiled,
        )
        planner = Planner(settings, model.card, model.digest, _precision_on(chosen.type, settings))
        return cls(planner, classify)

    @property
    def settings(self) -> PredictSettings:
        """What was asked for."""
        return self.planner.settings

    @property
    def tiles_at_once(self) -> int:
        """Tiles in a batch."""
        return tiles_at_once(self.classify.device, self.settings.batch_size)

    def map_blocks(
        self, plan: Plan, work: WorkFolder, blocks: Iterable[Block], advance: Advance
    ) -> None:
        """Write the shards of blocks that are missing."""
        classify = self._at_resolution_of(plan)
        map_blocks(plan, work, blocks, classify, self.tiles_at_once, advance)

    def try_tile(self, plan: Plan) -> None:
        """Run the network on a batch of blank tiles of a scene."""
        rows, cols = plan.grid.rows.length, plan.grid.cols.length
        shape = (self.tiles_at_once, len(plan.inspection.contract.bands), rows, cols)
        image = torch.zeros(shape, dtype=torch.uint8)
        valid = torch.ones(shape[0], 1, rows, cols, dtype=torch.bool)
        origin = torch.zeros(shape[0], 2, dtype=torch.int64)
        self._at_resolution_of(plan)(image, valid, origin).cpu()

    def _at_resolution_of(self, plan: Plan) -> Classify:
        alignment = plan.inspection.contract.alignment
        if alignment == ALIGNMENT:
            return self.classify
        return AtOtherResolution(self.classify, alignment)


def _precision_on(device_type: str, settings: PredictSettings) -> str:
    kind = "bfloat16" if device_type == "cuda" else "float32"
    # A compiled network rounds differently: it must not continue the parts of another.
    return f"{kind}, compiled" if settings.compiled else kind
