"""The card of a model file: what the model is. The weights beside it are read by `weights`.

It also holds the statistics of the training pixels, which turn pixel values into network input.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_cli.learn.model.locate import SUFFIX, find_model, require_file
from hyseg_cli.legend import Legend
from hyseg_models import ConfigError, HySegConfig

PERCENTILES = (0.5, 99.5)
"""For images that are not 8-bit: glints and dead pixels beyond them are clipped."""


@dataclass(frozen=True)
class Radiometry:
    """Statistics of each band over the training pixels."""

    mean: tuple[float, ...]
    """In units of the scenes, after clipping to the limits."""
    std: tuple[float, ...]
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Smallest and largest value of each band; None if all count, as for 8-bit images."""


def radiometry_of_sample(sample: npt.NDArray[np.float32]) -> Radiometry:
    """Limits at `PERCENTILES`, mean and deviation between them, of pixels (bands, n)."""
    low, high = np.percentile(sample, PERCENTILES, axis=1)
    cut = sample.astype(np.float64).clip(low[:, None], high[:, None])
    return Radiometry(
        tuple(cut.mean(axis=1).tolist()),
        tuple(np.maximum(cut.std(axis=1), _LEAST_STD).tolist()),
        (tuple(low.tolist()), tuple(high.tolist())),
    )


_LEAST_STD = 1e-6
"""Standard deviation of a band with a single value."""


FORMAT = "hyseg-model/1"
MODEL_TAG = "HYSEG_MODEL"
"""TIFF tag of a raster with the digest of the model that made it."""
CARD_KEY = "hyseg_card"
"""Of the metadata of a safetensors file."""
TILE, LARGEST_TILE = 512, 2048
"""Sides of the smallest and the largest tile that maps are made of unless one is asked for."""
LARGEST_OVERLAP = 128
"""Pixels that tiles share at most, likewise: what a network sees around a pixel has a size, not
a share of the tile."""
TOKEN_OVERLAP = 64
"""Likewise, if the network sees no farther than windows that are smaller than a tile."""


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """One of several data sets that a model was trained on."""

    name: str
    title: str = ""
    licence: str = ""
    attribution: str = ""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What its classes are of the model's, where the names differ."""
    images: int = 0
    """Images in it, those held out among them."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SourceRecord:
        """The record that `dataclasses.asdict` made JSON of."""
        classes = {name: tuple(found) for name, found in values.pop("classes", {}).items()}
        return cls(**values, classes=classes)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Where a model's data came from."""

    name: str = ""
    licence: str = ""
    attribution: str = ""
    training_scenes: tuple[str, ...] = ()
    validation_scenes: tuple[str, ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    """The data sets, where there are several."""

    @property
    def summary(self) -> str:
        """One line: the name of the data, else the first scenes."""
        return self.name or shortened(self.training_scenes) or "data that the model does not name"


def shortened(names: Sequence[str], most: int = 4) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model's properties, its training data, and its requirements for scenes."""

    config: HySegConfig
    legend: Legend
    bands: tuple[str, ...]
    """Names of the bands in order, such as red, green, blue."""
    optional_bands: tuple[str, ...] = ()
    """Those that a scene may lack, all of them together; the last ones."""
    dtype: str
    """Data type of the training scenes; radiometry is not guessed from another."""
    mean: tuple[float, ...]
    """Mean of each band over the training pixels, in units of the scenes."""
    std: tuple[float, ...]
    """Standard deviation of each band."""
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Smallest and largest value of each band that counts; None for all, as for 8-bit images."""
    resolution_m: tuple[float, float] | None
    """Smallest and largest ground resolution seen in training, scale augmentation included."""
    best_resolution_m: float | None = None
    """Pixel size in metres that coarser scenes are enlarged to; None for the largest seen."""
    quantiles: tuple[tuple[float, ...], ...] = ()
    """Of each band over the training pixels, at `quantiles.LEVELS`; empty in older models."""
    tile_size: int
    """Side of the training chips in pixels; of a probe, of the tiles that it maps fastest."""
    has_segmentation: bool = True
    """Whether stage 2 was trained; without, the model serves as the prior of another only."""
    temperature: float = 1.0
    """Logits are divided by it before the softmax, so that probabilities are calibrated."""
    data: TrainingData = field(default_factory=TrainingData)
    training: dict[str, Any] = field(default_factory=dict)
    """Settings, seed and versions of the training run."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Scores on the validation scenes; `of` names their model, if it is another one.
    `by_pixel_size` is a list of `metres`, `miou` and `overall_accuracy`, where it was measured."""

    def __post_init__(self) -> None:
        measured = (self.bands, self.mean, self.std, *(self.limits or ()))
        if {len(values) for values in measured} != {self.config.bands}:
            raise unusable("bands, mean, std and limits are not equally long")
        optional = self.bands[len(self.bands) - len(self.optional_bands) :]
        if self.optional_bands != optional or optional == self.bands:
            raise unusable("its optional bands are not the last of several")
        is_number = isinstance(self.temperature, int | float)
        if not (is_number and 0 < self.temperature < math.inf):
            raise unusable(f"its temperature is {self.temperature}, not above 0")
        best = self.best_resolution_m
        if best is not None and not (isinstance(best, int | float) and 0 < best < math.inf):
            raise unusable(f"its best_resolution_m is {best}, not a number of metres")
        if self.quantiles and len(self.quantiles) != len(self.bands):
            raise unusable(f"quantiles of {len(self.quantiles)} bands, not {len(self.bands)}")
        if not (isinstance(self.tile_size, int) and self.tile_size > 0):
            raise unusable(f"its tile_size is {self.tile_size}, not a number of pixels")
        self.legend.require_for_maps()
        if len(self.legend) != self.config.classes:
            raise unusable(
                f"the legend has {len(self.legend)} classes, the network {self.config.classes}"
            )

    @property
    def required_bands(self) -> tuple[str, ...]:
        """The bands that every scene has to have."""
        return self.bands[: len(self.bands) - len(self.optional_bands)]

    @property
    def bands_text(self) -> str:
        """The bands as people read them."""
        optional = (f"{name} (optional)" for name in self.optional_bands)
        return ", ".join((*self.required_bands, *optional))

    @property
    def pixels_text(self) -> str:
        """The pixel sizes that it knows, as people read them."""
        if self.resolution_m is None:
            return "of a size that is not known"
        low, high = self.resolution_m
        best = self.best_resolution_m
        return f"{low:.3g} to {high:.3g} m" + (f", best {best:.3g} m" if best else "")

    def tiling(self, tile: int | None, overlap: int | None) -> tuple[int, int]:
        """Side and overlap of the tiles of a map, in pixels of the network.

        Args:
            tile: What was asked for; None for 512, or the side of the training chips (at most
                2048) if that is larger.
            overlap: Likewise; None for a quarter of the tile, at most 128, or 64 if the network
                looks through windows that are smaller than tiles.
        """
        suits = min(max(TILE, self.tile_size), LARGEST_TILE) // ALIGNMENT * ALIGNMENT
        side = suits if tile is None else tile
        most = TOKEN_OVERLAP if self.config.host.name == "probe" else LARGEST_OVERLAP
        shared = min(side // 4, most) // ALIGNMENT * ALIGNMENT
        return side, shared if overlap is None else overlap

    @property
    def radiometry(self) -> Radiometry:
        """How pixel values become input of the network."""
        return Radiometry(self.mean, self.std, self.limits)

    def to_json(self) -> str:
        values = asdict(self) | {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "legend": self.legend.to_dict(),
        }
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card written by `to_json`.

        Raises:
            ModelMismatchError: If this version cannot use it.
        """
        try:
            values = json.loads(text)
            found = values.pop("format", "no format")
            if found != FORMAT:
                raise unusable(f"its format is {found}, this version reads {FORMAT}")
            resolution = values.pop("resolution_m")
            limits = values.pop("limits", None)
            data = values.pop("data")
            return cls(
                config=HySegConfig.from_dict(values.pop("config")),
                legend=Legend.from_dict(values.pop("legend")),
                bands=tuple(values.pop("bands")),
                optional_bands=tuple(values.pop("optional_bands", ())),
                mean=tuple(values.pop("mean")),
                std=tuple(values.pop("std")),
                quantiles=tuple(tuple(band) for band in values.pop("quantiles", ())),
                limits=None if limits is None else (tuple(limits[0]), tuple(limits[1])),
                resolution_m=None if resolution is None else (resolution[0], resolution[1]),
                data=TrainingData(
                    name=data["name"],
                    licence=data["licence"],
                    attribution=data["attribution"],
                    training_scenes=tuple(data["training_scenes"]),
                    validation_scenes=tuple(data["validation_scenes"]),
                    sources=tuple(map(SourceRecord.from_dict, data.get("sources", ()))),
                ),
                **values,
            )
        except (ConfigError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise unusable(f"{type(error).__name__}: {error}") from error


def digest_of(path: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a model file, as maps carry it.

    Raises:
        UsageProblemError: If there is no such file.
        HysegError: If it cannot be read.
    """
    require_file(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise HysegError(
            f"{path}: cannot be read ({error})", hint="Check the file's permissions."
        ) from error


def read_card(path: Path) -> ModelCard:
    """The card of a model file, without its weights; errors as those of `weights.load_model`."""
    with opened(path, framework="np") as file:
        text = card_text(file, path)
    return ModelCard.from_json(text)


@dataclass(frozen=True)
class ModelSource:
    """A model that was chosen, found once: its file and what that says of itself, no weights."""

    path: Path
    card: ModelCard
    digest: str
    """First 16 hexadecimal digits of the SHA-256 of the file."""

    @classmethod
    def find(cls, chosen: str | Path | None) -> ModelSource:
        """The model of a path or name; None for the built-in default.

        Raises:
            UsageProblemError: If there is none.
            HysegError: If it is damaged or not a safetensors file.
            ModelMismatchError: If this version cannot use its card.
        """
        return cls.at(find_model(chosen))

    @classmethod
    def at(cls, path: Path) -> ModelSource:
        """The model in a file; errors as those of `find`."""
        return cls(path, read_card(path), digest_of(path))

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.path.name.removesuffix(SUFFIX)


@contextmanager
def opened(path: Path, *, framework: Literal["np", "pt"]) -> Iterator[Any]:
    """An open model file; errors in it are reported here, whatever part is read.

    Args:
        path: The file.
        framework: The kind of tensors: numpy arrays, or PyTorch tensors, which loads PyTorch.

    Raises:
        UsageProblemError: If there is no such file.
        HysegError: If it is damaged or not a safetensors file.
    """
    require_file(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise HysegError(
            f"{path}: not a complete safetensors file ({error})",
            hint="Only models written by `hyseg train` are loaded, pickled checkpoints never; "
            "download the file again if it was cut short.",
        ) from error


def card_text(file: Any, path: Path) -> str:
    """The card in an open model file, as `ModelCard.to_json` wrote it.

    Raises:
        ModelMismatchError: If there is none.
    """
    metadata: dict[str, str] = file.metadata() or {}
    if CARD_KEY not in metadata:
        raise unusable(f"{path} holds weights but no hyseg card")
    return metadata[CARD_KEY]


def unusable(problem: str) -> ModelMismatchError:
    """The error of a model that this version cannot use."""
    return ModelMismatchError(
        f"the model cannot be used: {problem}",
        hint="Use a model that this version of `hyseg train` wrote.",
    )


LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Shares of the pixels that lie below the quantiles of a model card."""


def quantiles(pixels: npt.NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    """Values below which the shares `LEVELS` of pixels (bands, n) lie, for each band."""
    found = np.quantile(pixels.astype(np.float64), LEVELS, axis=1)
    return tuple(tuple(band) for band in found.T.tolist())
