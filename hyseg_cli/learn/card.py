"""A model file: weights and card in one safetensors file. Never a pickle, in or out."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hyseg_cli.errors import HysegError, ModelMismatchError
from hyseg_cli.learn.model_files import require_file
from hyseg_cli.learn.radiometry import Radiometry
from hyseg_cli.legend import Legend
from hyseg_models import ConfigError, HySeg, HySegConfig, build

FORMAT = "hyseg-model/1"
MODEL_TAG = "HYSEG_MODEL"
"""TIFF tag of a raster with the digest of the model that made it."""
_CARD_KEY = "hyseg_card"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Where a model's data came from."""

    name: str = ""
    licence: str = ""
    attribution: str = ""
    training_scenes: tuple[str, ...] = ()
    validation_scenes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model is, what it was trained on, and what it expects of a scene."""

    config: HySegConfig
    legend: Legend
    bands: tuple[str, ...]
    """Names of the bands in order, such as red, green, blue."""
    dtype: str
    """Data type of the training scenes; radiometry is not guessed from another."""
    mean: tuple[float, ...]
    """Mean of each band over the training pixels, in units of the scenes."""
    std: tuple[float, ...]
    """Standard deviation of each band."""
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Smallest and largest value of each band that counts; None for all, as of 8-bit images."""
    resolution_m: tuple[float, float] | None
    """Smallest and largest ground resolution seen in training, scale augmentation included."""
    quantiles: tuple[tuple[float, ...], ...] = ()
    """Of each band over the training pixels, at `quantiles.LEVELS`; empty in older models."""
    tile_size: int
    """Side of the training chips in pixels."""
    has_segmentation: bool = True
    """Whether stage 2 was trained; without, the model serves as the prior of another only."""
    temperature: float = 1.0
    """What logits are divided by before the softmax, so that probabilities mean what they say."""
    data: TrainingData = field(default_factory=TrainingData)
    training: dict[str, Any] = field(default_factory=dict)
    """Settings, seed and versions of the training run."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was measured on the validation scenes."""

    def __post_init__(self) -> None:
        measured = (self.bands, self.mean, self.std, *(self.limits or ()))
        if {len(values) for values in measured} != {self.config.bands}:
            raise _bad_card("bands, mean, std and limits are not equally long")
        is_number = isinstance(self.temperature, int | float)
        if not (is_number and 0 < self.temperature < math.inf):
            raise _bad_card(f"its temperature is {self.temperature}, not above 0")
        if self.quantiles and len(self.quantiles) != len(self.bands):
            raise _bad_card(f"quantiles of {len(self.quantiles)} bands, not {len(self.bands)}")
        self.legend.require_for_maps()
        if len(self.legend) != self.config.classes:
            raise _bad_card(
                f"the legend has {len(self.legend)} classes, the network {self.config.classes}"
            )

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
                raise _bad_card(f"its format is {found}, this version reads {FORMAT}")
            resolution = values.pop("resolution_m")
            limits = values.pop("limits", None)
            data = values.pop("data")
            return cls(
                config=HySegConfig.from_dict(values.pop("config")),
                legend=Legend.from_dict(values.pop("legend")),
                bands=tuple(values.pop("bands")),
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
                ),
                **values,
            )
        except (ConfigError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise _bad_card(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Model:
    """A network with its card."""

    network: HySeg
    card: ModelCard
    digest: str
    """First 16 hexadecimal digits of the SHA-256 of the model file."""


def save_model(path: Path, network: HySeg, card: ModelCard, *, half: bool = True) -> None:
    """Write weights and card to one file, by a temporary name.

    Args:
        path: The file to write.
        network: The weights.
        card: The card.
        half: Store convolution and linear weights in half precision; vectors (biases,
            normalisation statistics) stay in single, their range is larger.
    """
    tensors = {
        name: _stored(tensor.detach().cpu(), half=half)
        for name, tensor in network.state_dict().items()
    }
    _write(path, tensors, card)


def replace_card(path: Path, card: ModelCard) -> None:
    """Give a model file another card; the weights stay as they are, bit by bit.

    Raises:
        HysegError: One of its kinds, as `load_model` and `save_model` raise them.
    """
    _write(path, _read(path)[1], card)


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


def _write(path: Path, tensors: dict[str, Tensor], card: ModelCard) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        # safetensors keeps what it creates from others; what is there already stays as it is.
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, metadata={_CARD_KEY: card.to_json()})
        temporary.chmod(mode)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise HysegError(
            f"{path}: the model cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    shrink = half and tensor.dtype == torch.float32 and tensor.dim() >= 2
    return (tensor.half() if shrink else tensor).contiguous()


def load_model(path: Path) -> Model:
    """The network in a model file, in evaluation mode on the CPU.

    Raises:
        UsageProblemError: If there is no such file.
        HysegError: If it is damaged or no safetensors file.
        ModelMismatchError: If its card or weights do not fit this version.
    """
    text, tensors = _read(path)
    card = ModelCard.from_json(text)
    network = build(card.config)
    expected = network.state_dict()
    try:
        network.load_state_dict(
            {
                name: tensor.to(expected[name].dtype) if name in expected else tensor
                for name, tensor in tensors.items()
            }
        )
    except RuntimeError as error:
        raise _bad_card(f"the weights of {path} do not fit its configuration ({error})") from error
    return Model(network.eval(), card, digest_of(path))


def read_card(path: Path) -> ModelCard:
    """The card of a model file, without its weights; errors as `load_model`."""
    return ModelCard.from_json(_read(path, weights=False)[0])


def _read(path: Path, *, weights: bool = True) -> tuple[str, dict[str, Tensor]]:
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if weights else {}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise HysegError(
            f"{path}: not a whole safetensors file ({error})",
            hint="Only models written by `hyseg train` are loaded, pickled checkpoints never; "
            "fetch the file again if it was cut short.",
        ) from error
    if _CARD_KEY not in metadata:
        raise _bad_card(f"{path} holds weights but no hyseg card")
    return metadata[_CARD_KEY], tensors


def _bad_card(problem: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"the model cannot be used: {problem}",
        hint="Use a model that this version of `hyseg train` wrote.",
    )
