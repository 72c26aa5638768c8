"""A host that is trained: the decoder of UNetFormer on frozen features, until it learns no more.

It sees far beyond its cells, which ridge regression does not, so it is the harder test of whatever
is laid on top of a host. Each of its trainings leaves out two places at most: the one that is held
out, and the one whose map a correction learns from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import torch
from crops import BATCH, crops, stacked
from frozen_host import STRIDE, FeatureScene, calibrated
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hyseg_models import HySegOutput, segmentation_loss
from hyseg_models.hosts.unetformer import UNetFormerDecoder

DIM = 64
STEPS = 300
RATE = 1e-3


class TrainedHost:
    """Class scores of every scene by decoders that have seen neither it nor a place held out.

    Args:
        scenes: All scenes.
        classes: Number of classes N.
        kept: Folder of decoders; those that are missing are trained when they are needed.
        seed: Of the trainings.
    """

    def __init__(
        self, scenes: Mapping[str, FeatureScene], classes: int, kept: Path, seed: int
    ) -> None:
        self.scenes = scenes
        self.classes = classes
        self._kept = kept
        self._seed = seed

    def logits(self, held_out: str) -> dict[str, Tensor]:
        """Calibrated class scores by scene, (N, H/4, W/4); nothing of `held_out` is fitted on."""
        found = {
            name: scores(self._without(name, held_out), scene)
            for name, scene in self.scenes.items()
        }
        training = {name: scene for name, scene in self.scenes.items() if name != held_out}
        return calibrated(found, training)

    def _without(self, *names: str) -> UNetFormerDecoder:
        left_out = sorted(set(names))
        name = f"decoder_{self._seed}_without_{'_and_'.join(left_out)}"
        path = self._kept / f"{name}.safetensors"
        if path.is_file():
            host = _new(next(iter(self.scenes.values())), self.classes)
            host.load_state_dict(load_file(path))
            return host.eval()
        seen = {name: scene for name, scene in self.scenes.items() if name not in left_out}
        host = train(seen, self.classes, self._seed)
        self._kept.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in host.state_dict().items()}, path)
        click.echo(f"trained {path.stem}", err=True)
        return host


def train(
    scenes: Mapping[str, FeatureScene], classes: int, seed: int, steps: int = STEPS
) -> UNetFormerDecoder:
    """A decoder of some scenes."""
    torch.manual_seed(seed)
    host = _new(next(iter(scenes.values())), classes).train()
    optimizer = torch.optim.AdamW(host.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1.0, (k + 1) / 20) * 0.5 * (1 + math.cos(math.pi * k / steps))
    )
    nothing = {name: torch.zeros(0, *_size(scene)) for name, scene in scenes.items()}
    source = crops(scenes, nothing, seed)
    for _ in range(steps):
        crop = stacked([next(source) for _ in range(BATCH)])
        labels = crop.labels[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        size = (labels.shape[-2], labels.shape[-1])
        decoded = host(_pyramid(crop.maps), {}, size)
        loss = segmentation_loss(HySegOutput(decoded.logits, decoded.aux, None), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(host.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return host.eval()


@torch.inference_mode()
def scores(host: UNetFormerDecoder, scene: FeatureScene) -> Tensor:
    """Class scores (N, H/4, W/4) of a whole scene."""
    maps = [x[None].float() for x in scene.maps]
    found: Tensor = host(_pyramid(maps), {}, _size(scene)).logits[0]
    return found


def _new(scene: FeatureScene, classes: int) -> UNetFormerDecoder:
    channels = [x.shape[1] for x in _pyramid([x[None] for x in scene.maps])]
    return UNetFormerDecoder(channels, classes, DIM, {}, keep_context=True, dropout=0.1)


def _pyramid(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps (1 or B, C, h, w), those of one stride joined, finest first."""
    widths = sorted({x.shape[-1] for x in maps}, reverse=True)
    return [torch.cat([x for x in maps if x.shape[-1] == width], dim=1) for width in widths]


def _size(scene: FeatureScene) -> tuple[int, int]:
    return scene.labels.shape[-2] // STRIDE, scene.labels.shape[-1] // STRIDE
