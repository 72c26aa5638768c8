"""What the backbone of a trained network sees in its scenes, window by window as in a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.inference.resample import as_shown, look_windows
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.applicability import (
    MOST_LOOKS,
    Applicability,
    can_look,
    looks_of,
    width_of,
)
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.contract import alignment_for
from hyseg_cli.learn.model.weights import Model
from hyseg_cli.messages import Messages
from hyseg_cli.workflows.train.scenes import TrainingScenes
from hyseg_models import HySeg

MOST_ALONG = 16
"""Windows along each side of a scene."""


@dataclass(frozen=True)
class Looking:
    """How scenes are looked at.

    Windows are those that `hyseg predict` would compare, at the pixel size that it would show them
    at: chips of the training are scaled and turned at random, so that whatever looks a little like
    any of these would pass for known.
    """

    network: HySeg
    standardise: Standardise
    card: ModelCard
    device: torch.device
    messages: Messages

    @torch.inference_mode()
    def at(self, scenes: Sequence[LabelledScene]) -> Tensor:
        """Looks (n, C) of `MOST_LOOKS` windows, one of each scene before any has a second."""
        chosen = self._spread(scenes)[:MOST_LOOKS]
        network = self.network.to(self.device).eval()
        standardise = self.standardise.to(self.device)
        found = [torch.zeros(0, width_of(network))]
        for done, (scene, window, alignment) in enumerate(chosen, 1):
            chip = scene.read(window)
            shown = as_shown(chip.image, chip.valid, alignment)
            if shown is not None:
                standard = standardise(*(values.to(self.device) for values in shown))
                found.append(looks_of(network, network.backbone(standard)))
            self.messages.advance("looking at what scenes are like", done, len(chosen))
        return torch.cat(found)

    def _spread(self, scenes: Sequence[LabelledScene]) -> list[tuple[LabelledScene, Window, int]]:
        """Windows of scenes and their alignments, in turn and at random."""
        rng, found = np.random.default_rng(0), []
        for scene in scenes:
            resolution = getattr(scene, "resolution_m", None)
            alignment = alignment_for(scene.name, resolution, self.card)
            whole = Window(0, 0, scene.height, scene.width)
            windows = look_windows(whole, alignment, most=MOST_ALONG)
            for turn, index in enumerate(rng.permutation(len(windows))):
                found.append((turn, rng.random(), scene, windows[index], alignment))
        return [entry[2:] for entry in sorted(found, key=lambda entry: entry[:2])]


def what_was_seen(
    looking: Looking, data: TrainingScenes, donor: Model | None
) -> Applicability | None:
    """What a network has seen in its training, and how far scenes of other places are from it.

    Scenes that were learned say nothing about how far others may be. So where none are held out,
    the model that the training started from must have known that, of scenes that are all still
    among those that are learned, by blocks that have not changed since; else it is None.
    """
    network = looking.network
    if not can_look(network):
        return None
    if data.validation:
        return Applicability.learned(looking.at(data.training), looking.at(data.validation))
    if donor is None or donor.applicability is None:
        return None
    is_known = set(donor.card.data.training_scenes) <= set(data.training_names)
    if not is_known or not network.keeps_blocks(network.config.host.depths[0]):
        return None
    return donor.applicability.with_more(looking.at(data.training))
