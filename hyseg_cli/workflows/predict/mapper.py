"""A model on a device, ready to map scenes and to compare them with its training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.geo.raster.reader import REMOTE_OPTIONS, SceneReader
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.learn.inference.augmentation import VIEWS
from hyseg_cli.learn.inference.kept_tokens import MAP_BYTES, keep_tokens
from hyseg_cli.learn.inference.predictor import Predictor, choose_device, tiles_at_once
from hyseg_cli.learn.inference.resample import AtOtherResolution, spread_windows
from hyseg_cli.learn.inference.stitch import Classify
from hyseg_cli.learn.model.applicability import Unlike
from hyseg_cli.learn.model.card import ModelSource
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.mapping import CACHE_MIB, Advance, map_blocks
from hyseg_cli.workflows.predict.plan import Plan, Planner, format_on


@dataclass(frozen=True)
class Mapper:
    """What all scenes of a run share."""

    planner: Planner
    classify: Predictor

    @classmethod
    def load(
        cls,
        settings: PredictSettings,
        *,
        source: ModelSource | None = None,
        device: str | None = None,
    ) -> Mapper:
        """Load the weights.

        Args:
            settings: What was asked for.
            source: The model, if it has been found; None to look for it.
            device: Another device than theirs.

        Raises:
            HysegError: If the model or the device cannot be used.
        """
        chosen = choose_device(device or settings.device)
        source = source or ModelSource.find(settings.model)
        model = load_model(source)
        keep_tokens(model.network, chosen, MAP_BYTES)
        classify = Predictor(
            model,
            chosen,
            seed=settings.seed,
            noise=settings.noise,
            views=VIEWS[settings.tta],
            compiled=settings.compiled,
            precision=format_on(chosen.type, settings),
        )
        return cls(Planner.on(chosen.type, source, settings), classify)

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

    def looked_at(self, plan: Plan) -> Unlike | None:
        """How unlike the scene is to the training; None if the model cannot say that.

        Raises:
            UnusableFileError: If a block cannot be read.
        """
        applicability = self.classify.applicability
        if applicability is None:
            return None
        bands, validity = plan.inspection.contract.bands, plan.inspection.validity
        with (
            gdal_env(CACHE_MIB, **REMOTE_OPTIONS),
            SceneReader(plan.scene, bands, validity=validity) as reader,
        ):
            alignment = plan.inspection.contract.alignment
            windows = list(spread_windows(reader, plan.window, alignment))
        looks = [self.classify.looks(image, valid) for image, valid in windows]
        if not looks:
            return None
        return Unlike.of(applicability.dissimilarity(torch.cat(looks)), plan.source)

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
