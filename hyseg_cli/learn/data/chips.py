"""Chips: windows of labelled scenes, drawn and augmented for training or laid out to validate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip, LabelledScene
from hyseg_cli.learn.data.statistics import Places
from hyseg_cli.legend import NODATA_ID

MAX_CLASS_SHARE = 0.75
"""A window is drawn again, up to ten times, while one class covers more of its labels."""

DROPPED_SHARE = 0.5
"""Share of the chips in which optional bands are left out."""

CLASS_SHARE = 0.5
"""Share of the chips that are drawn by class, if any are."""


@dataclass(frozen=True)
class Augmentation:
    """How training chips are varied."""

    scale: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest magnification, drawn uniformly in its logarithm."""
    color: bool = True
    """Brightness, contrast, saturation, hue, blur and JPEG artefacts (8-bit RGB only)."""
    optional_bands: tuple[int, ...] = ()
    """Channels that are left out of half of the chips that have them, together."""
    collar: float = 0.1
    """Share of chips in which a random half-plane is emptied, as at the edge of an image."""


Sample = dict[str, Tensor]
"""image (bands, H, W), valid bool (1, H, W), labels int64 (H, W), origin int64 (2,), source int64
(): the number of the source that the labels are of, 0 where there is one alone, has_band bool
(bands,): False for those that the image lacks, or is made to lack."""


@dataclass(frozen=True)
class Pool:
    """Scenes that a share of the chips is drawn from."""

    scenes: tuple[LabelledScene, ...]
    weights: tuple[float, ...]
    """How often each is drawn, summing to one."""
    share: float
    """Part of all chips."""
    places: Places | None = None
    """Where each label occurs in them; None to draw chips anywhere."""


class TrainingChips(Dataset[Sample]):
    """Random augmented chips; chip i of a seed is always the same.

    A continued training sets `first`: chip 0 is then the first that it has not seen.

    Scenes are drawn with the square root of their area, so that a large one does not drown the
    others. With `places`, half of the chips show a class that is drawn first, all equally often.
    With `pools`, these are drawn first, by their shares, and say how their scenes are.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        *,
        size: int,
        count: int,
        seed: int,
        augmentation: Augmentation,
        places: Places | None = None,
        pools: Sequence[Pool] = (),
    ) -> None:
        self.scenes = scenes
        self.size = size
        self.count = count
        self.seed = seed
        self.augmentation = augmentation
        self.first = 0
        weight = np.sqrt([scene.height * scene.width for scene in scenes])
        alone = Pool(tuple(scenes), tuple((weight / weight.sum()).tolist()), 1.0, places)
        self.pools = tuple(pools) or (alone,)
        self._shares = [pool.share for pool in self.pools]
        self._color = v2.Compose(
            [
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03),
                v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 1.5))], p=0.2),
                v2.RandomApply([v2.Lambda(_jpeg)], p=0.2),
            ]
        )

    def __len__(self) -> int:
        return self.count

    def reseeded(self, seed: int, count: int) -> TrainingChips:
        """As many other chips of the same kind, from the first on."""
        others = copy(self)
        others.seed, others.count, others.first = seed, count, 0
        return others

    def __getitem__(self, index: int) -> Sample:
        if index >= self.count:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, self.first + index))
        scene, _, chip = self._draw(rng)
        image, valid, labels = _to_tensors(chip)
        image = _fill(image, valid)
        image, valid, labels = _resize(image, valid, labels, self.size)
        image, valid, labels = _flip_and_turn(rng, image, valid, labels)
        if self.augmentation.color and image.dtype == torch.uint8 and len(image) == 3:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                image = self._color(image)
        if rng.random() < self.augmentation.collar:
            empty = _half_plane(rng, self.size)
            valid &= ~empty
            labels[empty] = NODATA_ID
        sample = _sample(scene, image, valid, labels, (0, 0))
        optional = list(self.augmentation.optional_bands)
        if optional and rng.random() < DROPPED_SHARE:
            sample["has_band"][optional] = False
        return sample

    def place(self, index: int) -> str:
        """Scene and window that a chip is cut from."""
        scene, window, _ = self._draw(np.random.default_rng((self.seed, self.first + index)))
        side = f"{window.height} x {window.width}"
        return f"{scene.name}, {side} pixels from row {window.row}, column {window.col}"

    def _draw(self, rng: np.random.Generator) -> tuple[LabelledScene, Window, Chip]:
        """A window of the class wanted, or of any whose labels are not nearly all of one class.

        If ten draws find none, return one that has any labels: with a few polygons, most windows
        have none.
        """
        pool = self.pools[0]
        if len(self.pools) > 1:
            pool = self.pools[int(rng.choice(len(self.pools), p=self._shares))]
        wanted = None
        if pool.places is not None and rng.random() < CLASS_SHARE:
            wanted = pool.places.draw_class(rng)
        labelled = None
        for _ in range(10):
            scene, window = self._window(rng, pool, wanted)
            chip = scene.read(window)
            counts = np.bincount(chip.labels.ravel(), minlength=NODATA_ID + 1)[:NODATA_ID]
            is_mixed = 0 < counts.max() <= MAX_CLASS_SHARE * counts.sum()
            if is_mixed if wanted is None else counts[wanted] > 0:
                return scene, window, chip
            if labelled is None and counts.max() > 0:
                labelled = scene, window, chip
        return labelled or (scene, window, chip)

    def _window(
        self, rng: np.random.Generator, pool: Pool, wanted: int | None
    ) -> tuple[LabelledScene, Window]:
        """A square of random size anywhere in a scene, or around a place of the class wanted."""
        around = None
        if wanted is None or pool.places is None:
            scene = pool.scenes[rng.choice(len(pool.scenes), p=pool.weights)]
        else:
            index, *around = pool.places.draw_pixel(wanted, rng)
            scene = pool.scenes[index]
        low, high = np.log(self.augmentation.scale)
        side = round(self.size / float(np.exp(rng.uniform(low, high))))
        side = min(side, scene.height, scene.width)
        if around is None:
            row = int(rng.integers(scene.height - side + 1))
            col = int(rng.integers(scene.width - side + 1))
        else:
            up, left = rng.integers(side, size=2).tolist()
            row = min(max(around[0] - up, 0), scene.height - side)
            col = min(max(around[1] - left, 0), scene.width - side)
        return scene, Window(row, col, side, side)


class ValidationChips(Dataset[Sample]):
    """Windows that cover the scenes once, without augmentation; labels end at the scene edge."""

    def __init__(self, scenes: Sequence[LabelledScene], *, size: int) -> None:
        self.scenes = scenes
        self.windows = [
            (index, Window(row, col, size, size))
            for index, scene in enumerate(scenes)
            for row in range(0, scene.height, size)
            for col in range(0, scene.width, size)
        ]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Sample:
        which, window = self.windows[index]
        scene = self.scenes[which]
        image, valid, labels = _to_tensors(scene.read(window))
        labels[scene.height - window.row :] = NODATA_ID
        labels[:, scene.width - window.col :] = NODATA_ID
        return _sample(scene, image, valid, labels, (window.row, window.col))


def _sample(
    scene: LabelledScene, image: Tensor, valid: Tensor, labels: Tensor, origin: tuple[int, int]
) -> Sample:
    return {
        "image": image,
        "valid": valid.unsqueeze(0),
        "labels": labels.long(),
        "origin": torch.tensor(origin),
        "source": torch.tensor(getattr(scene, "source", 0)),
        "has_band": torch.tensor(getattr(scene, "has_band", (True,) * len(image))),
    }


def _to_tensors(chip: Chip) -> tuple[Tensor, Tensor, Tensor]:
    def tensor(array: npt.NDArray[Any]) -> Tensor:
        wide = (
            array.astype(np.float32) if array.dtype.kind in "iu" and array.itemsize > 1 else array
        )
        return torch.from_numpy(np.ascontiguousarray(wide).copy())

    return tensor(chip.image), tensor(chip.valid), tensor(chip.labels)


def _fill(image: Tensor, valid: Tensor) -> Tensor:
    """The image (bands, H, W) with the mean of the valid pixels where there is no data.

    Otherwise blurring or resizing would carry nodata values, including NaN, into valid pixels.
    """
    if valid.all() or not valid.any():
        return torch.where(valid, image, torch.zeros_like(image))
    mean = image[:, valid].float().mean(dim=1).to(image.dtype)
    return torch.where(valid, image, mean[:, None, None])


def _resize(
    image: Tensor, valid: Tensor, labels: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    if image.shape[-1] == size:
        return image, valid, labels
    nearest = v2.InterpolationMode.NEAREST
    both = torch.stack([valid.to(torch.uint8), labels])
    both = tv.resize(both, [size, size], interpolation=nearest)
    return tv.resize(image, [size, size], antialias=True), both[0].bool(), both[1]


def _flip_and_turn(rng: np.random.Generator, *arrays: Tensor) -> tuple[Tensor, ...]:
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    turned = tuple(torch.rot90(array, turns, dims=(-2, -1)) for array in arrays)
    return tuple(array.flip(-1) if mirrored else array.clone() for array in turned)


def _jpeg(image: Tensor) -> Tensor:
    """The image (3, H, W) after lossy compression at a random quality."""
    quality = int(torch.randint(40, 96, ()))
    file = io.BytesIO()
    tv.to_pil_image(image).save(file, "JPEG", quality=quality)
    decoded: Tensor = tv.pil_to_tensor(Image.open(file))
    return decoded


def _half_plane(rng: np.random.Generator, size: int) -> Tensor:
    """bool (size, size): one side of a random line that leaves the middle of the chip."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    distance = rng.uniform(0.1, 0.5) * size
    offsets = np.arange(size) - size / 2
    across = offsets[:, None] * np.sin(angle) + offsets[None, :] * np.cos(angle)
    return torch.from_numpy(across > distance)
