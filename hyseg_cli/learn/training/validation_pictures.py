"""Pictures of some validation chips: image, label, prior and prediction side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.training.stages import Stage, as_bytes
from hyseg_cli.legend import NODATA_ID, Legend, format_color
from hyseg_models import IGNORE_ID

CHIPS = 4
CONSIDERED = 24
"""Candidate chips, of which those with most classes are chosen; each must be read."""

INCHES = 2.4
DOTS_PER_INCH = 120
STRETCH = (2.0, 98.0)
"""Percentiles of an image that become black and white."""

UNKNOWN = (235, 235, 235)
"""Colour of pixels without a label."""


class Gallery(Callback):
    """Draws the maps of a few chips after each validation.

    Args:
        chips: Where to choose from; the same chips every time.
        legend: Names and colours of the classes.
        folder: Gets one `step-NNNNNN.png` for each validation.
    """

    def __init__(self, chips: Dataset[Sample], legend: Legend, folder: Path) -> None:
        self.chips = chips
        self.legend = legend
        self.folder = folder
        self._batch: Sample | None = None

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        if not isinstance(stage, Stage) or not trainer.is_global_zero:
            return
        if self._batch is None:
            self._batch = default_collate(telling_chips(self.chips))
        batch = {name: tensor.to(stage.device) for name, tensor in self._batch.items()}
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            drawn = stage.drawn(batch)
        columns = {"label": self._batch["labels"]} | drawn
        path = self.folder / f"step-{trainer.global_step:06d}.png"
        figure = compose(
            [
                display(image, valid[0])
                for image, valid in zip(self._batch["image"], self._batch["valid"], strict=True)
            ],
            {name: as_bytes(channels) for name, channels in columns.items()},
            self.legend,
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DOTS_PER_INCH)
        except OSError as error:
            raise HysegError(
                f"{path}: the picture cannot be written ({error})",
                hint="Free some space and continue with `resume`.",
            ) from error


def telling_chips(chips: Dataset[Sample]) -> list[Sample]:
    """The chips with most classes among some that are spread over the scenes."""
    count = len(chips)  # type: ignore[arg-type]
    places = np.linspace(0, count - 1, min(count, CONSIDERED)).round().astype(int)
    read = [chips[int(place)] for place in places]

    def wealth(sample: Sample) -> tuple[int, int]:
        labels = sample["labels"].numpy()
        known = labels[labels != IGNORE_ID]
        return len(np.unique(known)), known.size

    return sorted(read, key=wealth, reverse=True)[:CHIPS]


def display(image: Tensor, valid: Tensor) -> npt.NDArray[np.float64]:
    """The first three bands of an image (bands, H, W), stretched: (H, W, 3) in [0, 1].

    Pixels outside `valid`, bool (H, W), are black.
    """
    shown = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    values = np.moveaxis(shown.double().numpy(), 0, -1)  # (H, W, 3)
    known = values[valid.numpy()]
    if len(known) == 0:
        return np.zeros_like(values)
    low, high = np.percentile(known, STRETCH, axis=0)
    stretched = ((values - low) / np.maximum(high - low, 1e-12)).clip(0.0, 1.0)
    return np.where(valid.numpy()[..., None], stretched, 0.0)


def compose(
    images: list[npt.NDArray[np.float64]], columns: dict[str, npt.NDArray[np.uint8]], legend: Legend
) -> Any:
    """A matplotlib figure: a row for each image, a column for each kind of map, the legend below.

    Args:
        images: (H, W, 3) in [0, 1].
        columns: Class indices (B, H, W) of each kind, 255 where unknown.
        legend: Names and colours of the channels.
    """
    from matplotlib.figure import Figure  # half a second that only pictures need
    from matplotlib.patches import Patch

    table = np.full((NODATA_ID + 1, 3), UNKNOWN, np.uint8)
    table[: len(legend)] = [entry.color for entry in legend.classes]
    lines = -(-len(legend) // 5)
    size = INCHES * (1 + len(columns)), INCHES * len(images) + 0.3 + 0.25 * (lines + 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(images), 1 + len(columns), squeeze=False)
    for row, image in enumerate(images):
        pictures = {"image": image} | {name: table[maps[row]] for name, maps in columns.items()}
        for axis, (name, picture) in zip(axes[row], pictures.items(), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(name, fontsize=9)
    entries = [
        Patch(facecolor=format_color(color), edgecolor="0.5", label=name)
        for name, color in (*((c.name, c.color) for c in legend.classes), ("no label", UNKNOWN))
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure
