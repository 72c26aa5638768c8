"""A host in closed form: ridge regression from frozen features to the classes of each cell.

It has no seeds and no steps, so whatever is laid on top of it is compared without their noise. A
host that has not seen some scenes costs one solution of linear equations, so corrections can be
trained on maps of scenes that their host has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import ScenePair
from hyseg_cli.learn.few.backbone import IMAGENET_MEAN, IMAGENET_STD
from hyseg_cli.learn.model.backbone import load_backbone
from hyseg_cli.legend import Legend, read_legend
from hyseg_cli.settings.source import read_sources
from hyseg_cli.workflows.evaluate.source import MappedSource
from hyseg_models import IGNORE_ID, HySeg, build, preset

COMMON = Path(__file__).parents[2] / "land_cover.legend.json"
BANDS = ("red", "green", "blue")
WINDOW, AROUND = 768, 128
"""Pixels that a backbone gives features of at once, and what it sees around them."""
STRIDE = 4
"""Pixels per cell of the class scores."""
POINTS = 16_000
"""Labelled cells that are taken of each scene."""
RIDGE = 0.03
"""Penalty, in units of the mean square of each feature."""
RARITY = 0.5
"""Classes are weighed by their share to minus this power."""
PARTS_PER_ROW = 3
MOST = 16_000_000
"""Pixels of a scene; of a larger one, rows of parts from the top are used up to that many."""


@dataclass(frozen=True)
class FeatureScene:
    """A scene with what frozen backbones see in it; its sides are multiples of 32 pixels."""

    name: str
    image: Tensor
    """float32 (3, H, W), 0 to 1."""
    labels: Tensor
    """int64 (H, W), `IGNORE_ID` where unknown or beyond the edge."""
    maps: tuple[Tensor, ...]
    """float16 (C_i, H / s_i, W / s_i)."""
    chip: int | None = None
    """Pixels: it is put together of squares of this side that do not adjoin."""


def load_backbones(files: Mapping[str, Path]) -> list[HySeg]:
    """Networks of some presets with pretrained backbones, which alone are used."""
    networks = []
    for name, path in files.items():
        network = build(preset(name)).eval()
        load_backbone(network, path, BANDS)
        networks.append(network)
    return networks


def parts_of(data: Path, source: Path) -> tuple[Legend, dict[str, list[ScenePair]]]:
    """The legend of a source's labels, and its images and labels by place."""
    settings = read_sources([source], data)[0]
    mapped = MappedSource.of(settings, read_legend(COMMON), {})
    found: dict[str, list[ScenePair]] = {}
    for placed in mapped.source.pairs:
        found.setdefault(placed.place, []).append(placed.pair)
    return mapped.legend, {place: found[place] for place in sorted(found)}


@torch.inference_mode()
def read_scene(
    name: str,
    pairs: Sequence[ScenePair],
    legend: Legend,
    networks: Sequence[HySeg],
    chip: int | None = None,
) -> FeatureScene:
    """A scene whose parts, three in a row, are put together, with its features.

    Parts that are chips of `chip` pixels do not adjoin, and each is seen alone.
    """
    scenes = open_pairs(pairs, legend, (1, 2, 3))
    size = scenes[0].height * scenes[0].width * PARTS_PER_ROW
    rows = min(len(scenes) // PARTS_PER_ROW, MOST // size)
    used = scenes[: rows * PARTS_PER_ROW]
    chips = [scene.read(Window(0, 0, scene.height, scene.width)) for scene in used]
    image = torch.from_numpy(_joined([chip.image for chip in chips])).float() / 255.0
    labels = torch.from_numpy(_joined([chip.labels for chip in chips]).astype(np.int64))
    margin = (0, -labels.shape[-1] % 32, 0, -labels.shape[-2] % 32)
    image = F.pad(image[None], margin, mode="replicate")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    sides = (WINDOW, AROUND) if chip is None else (chip, 0)
    maps = [x for network in networks for x in _in_windows(network, (image - mean) / std, *sides)]
    labels = F.pad(labels, margin, value=IGNORE_ID)
    return FeatureScene(name, image[0], labels, tuple(maps), chip)


def _in_windows(network: HySeg, image: Tensor, window: int, around: int) -> list[Tensor]:
    """Features (C, H / s, W / s) of an image (1, bands, H, W), seen window by window.

    Attention over all tokens of a scene would take time with the square of its size.
    """
    height, width = image.shape[-2:]
    found: list[Tensor] = []
    for row in range(0, height, window):
        for col in range(0, width, window):
            top, left = max(0, row - around), max(0, col - around)
            part = image[..., top : row + window + around, left : col + window + around]
            maps = network.backbone(part)
            strides = [part.shape[-1] // x.shape[-1] for x in maps]
            if not found:
                found = [
                    torch.empty(x.shape[1], height // s, width // s, dtype=torch.half)
                    for x, s in zip(maps, strides, strict=True)
                ]
            for whole, x, s in zip(found, maps, strides, strict=True):
                own = x[0, :, (row - top) // s :, (col - left) // s :][
                    ..., : window // s, : window // s
                ]
                rows, cols = own.shape[-2:]
                whole[:, row // s : row // s + rows, col // s : col // s + cols] = own
    return found


def read_kept(
    name: str,
    pairs: Sequence[ScenePair],
    legend: Legend,
    networks: Sequence[HySeg],
    kept: Path,
    chip: int | None = None,
) -> FeatureScene:
    """The same, from a file in `kept` if one is there; else it is written for the next time."""
    path = kept / f"{name}.features.safetensors"
    if not path.is_file():
        scene = read_scene(name, pairs, legend, networks, chip)
        maps = {f"maps.{index}": x.contiguous() for index, x in enumerate(scene.maps)}
        image = (255.0 * scene.image).round().to(torch.uint8).contiguous()
        kept.mkdir(parents=True, exist_ok=True)
        save_file(
            {"image": image, "labels": scene.labels.to(torch.uint8).contiguous()} | maps, path
        )
    found = load_file(path)
    return FeatureScene(
        name,
        found["image"].float() / 255.0,
        found["labels"].long(),
        tuple(found[f"maps.{index}"] for index in range(len(found) - 2)),
        chip,
    )


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    rows = [
        np.concatenate(parts[start : start + PARTS_PER_ROW], axis=-1)
        for start in range(0, len(parts), PARTS_PER_ROW)
    ]
    return np.ascontiguousarray(np.concatenate(rows, axis=-2))


@dataclass(frozen=True)
class ClassSums:
    """What ridge regression needs of a scene, class by class; sums of scenes are those of all."""

    squares: Tensor
    """float64 (N, D + 1, D + 1): of the features, and a one for the offset."""
    sums: Tensor
    """float64 (N, D + 1)."""
    cells: Tensor
    """float64 (N,)."""

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(
            self.squares + other.squares, self.sums + other.sums, self.cells + other.cells
        )

    @classmethod
    def of(cls, scene: FeatureScene, classes: int, seed: int) -> ClassSums:
        """Of labelled cells at random."""
        labels = scene.labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        cells = torch.nonzero(labels != IGNORE_ID)
        order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed))
        cells = cells[order[:POINTS]]
        # to the coordinates of grid_sample: column first, from -1 to 1
        size = torch.tensor(labels.shape)
        places = ((cells + 0.5) / size * 2.0 - 1.0).flip(-1).view(1, 1, -1, 2).float()
        seen = [
            F.grid_sample(x[None].float(), places, padding_mode="border", align_corners=False)
            for x in scene.maps
        ]
        features = torch.cat([x[0, :, 0].T for x in seen] + [torch.ones(len(cells), 1)], dim=1)
        features, own = features.double(), labels[cells[:, 0], cells[:, 1]]
        rows = [features[own == index] for index in range(classes)]
        return cls(
            torch.stack([x.T @ x for x in rows]),
            torch.stack([x.sum(dim=0) for x in rows]),
            torch.tensor([len(x) for x in rows], dtype=torch.float64),
        )


def solve(sums: ClassSums) -> Tensor:
    """Weights (D + 1, N) of the regression to one-hot classes; the last row is the offset."""
    share = (sums.cells / sums.cells.sum()).clamp_min(1e-3)
    weight = share**-RARITY
    weight = weight * sums.cells.sum() / (weight * sums.cells).sum()
    squares = (weight[:, None, None] * sums.squares).sum(dim=0)
    penalty = RIDGE * squares.diagonal().clone()
    penalty[-1] = 0.0
    targets = (weight[:, None] * sums.sums).T
    return torch.linalg.solve(squares + torch.diag(penalty), targets).float()


@torch.inference_mode()
def scores(scene: FeatureScene, weights: Tensor) -> Tensor:
    """Class scores (N, H/4, W/4): weighed where the features are, and enlarged afterwards."""
    size = [side // STRIDE for side in scene.labels.shape]
    total = weights[-1].view(1, -1, 1, 1)
    start = 0
    for x in scene.maps:
        part = weights[start : start + len(x)].T[:, :, None, None]
        found = F.conv2d(x[None].float(), part)
        total = total + F.interpolate(found, size=size, mode="bilinear", align_corners=False)
        start += len(x)
    return total[0]


class UnseenHost:
    """Class scores of every scene by hosts that have seen neither it nor a place held out.

    Args:
        scenes: All scenes.
        classes: Number of classes N.
    """

    def __init__(self, scenes: Mapping[str, FeatureScene], classes: int) -> None:
        self.scenes = scenes
        self.sums = {
            name: ClassSums.of(scene, classes, seed)
            for seed, (name, scene) in enumerate(scenes.items())
        }

    def logits(self, held_out: str) -> dict[str, Tensor]:
        """Calibrated class scores by scene, (N, H/4, W/4); nothing of `held_out` is fitted on."""
        found = {}
        for name, scene in self.scenes.items():
            first, *others = (s for key, s in self.sums.items() if key not in (name, held_out))
            found[name] = scores(scene, solve(sum(others, start=first)))
        training = {name: scene for name, scene in self.scenes.items() if name != held_out}
        return calibrated(found, training)


def calibrated(
    found: Mapping[str, Tensor], training: Mapping[str, FeatureScene]
) -> dict[str, Tensor]:
    """Scores of scenes by the factor and class offsets that fit the training scenes best."""
    factor, offset = _calibration(
        torch.cat([found[name].flatten(1) for name in training], dim=1).T,
        torch.cat([_cells(scene) for scene in training.values()]),
    )
    return {name: factor * x + offset.view(-1, 1, 1) for name, x in found.items()}


def _cells(scene: FeatureScene) -> Tensor:
    return scene.labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].flatten()


def _calibration(found: Tensor, labels: Tensor, *, points: int = 20_000) -> tuple[Tensor, Tensor]:
    """The factor and class offsets with which scores (cells, N) fit their labels best."""
    known = torch.nonzero(labels != IGNORE_ID)[:, 0]
    some = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[:points]]
    factor = torch.tensor(5.0, requires_grad=True)
    offset = torch.zeros(found.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([factor, offset], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = F.cross_entropy(factor * found[some] + offset, labels[some])
        value.backward()
        return float(value.detach())

    optimizer.step(loss)
    return factor.detach(), offset.detach()
