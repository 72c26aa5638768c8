"""A model file: weights and card in one safetensors file. Never a pickle, in or out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import replacing
from hyseg_cli.learn.model.applicability import PREFIX, Applicability, can_look, width_of
from hyseg_cli.learn.model.card import CARD_KEY, ModelCard, ModelSource, opened, read_card, unusable
from hyseg_models import ConfigError, HySeg, build


@dataclass(frozen=True)
class Model:
    """A network with its card."""

    network: HySeg
    card: ModelCard
    digest: str
    """First 16 hexadecimal digits of the SHA-256 of the model file."""
    applicability: Applicability | None = None
    """What it has seen; None if that is not stored."""


def load_model(model: Path | ModelSource) -> Model:
    """The network in a model file, in evaluation mode on the CPU.

    Args:
        model: The file, or what was found out of it before.

    Raises:
        UsageProblemError: If there is no such file.
        HysegError: If it is damaged or not a safetensors file.
        ModelMismatchError: If its card or weights do not fit this version.
    """
    source = model if isinstance(model, ModelSource) else ModelSource.at(model)
    tensors = _read_tensors(source.path)
    try:
        network = build(source.card.config)
    except ConfigError as error:
        raise unusable(f"{source.path}: its network cannot be built ({error})") from error
    expected = network.state_dict()
    try:
        network.load_state_dict(
            {
                name: tensor.to(expected[name].dtype) if name in expected else tensor
                for name, tensor in tensors.items()
                if not name.startswith(PREFIX)
            }
        )
    except RuntimeError as error:
        raise unusable(
            f"the weights of {source.path} do not fit its configuration ({error})"
        ) from error
    applicability = _applicability_of(tensors, network, source.path)
    return Model(network.eval(), source.card, source.digest, applicability)


def remembers_looks(source: ModelSource) -> bool:
    """Whether a model file holds what its network has seen; the weights are not read.

    Raises:
        HysegError: If it is damaged.
    """
    with opened(source.path, framework="np") as file:
        return any(name.startswith(PREFIX) for name in file.keys())  # noqa: SIM118 - not a dict


def _applicability_of(
    tensors: dict[str, Tensor], network: HySeg, path: Path
) -> Applicability | None:
    try:
        found = Applicability.of_tensors(tensors)
    except ValueError as error:
        raise unusable(f"{path}: {error}") from error
    if found is not None and (not can_look(network) or len(found.mean) != width_of(network)):
        raise unusable(f"{path}: {PREFIX}* are not of its backbone")
    return found


def save_model(
    path: Path,
    network: HySeg,
    card: ModelCard,
    *,
    applicability: Applicability | None = None,
    half: bool = True,
) -> None:
    """Write weights and card to one file, by a temporary name.

    Args:
        path: The file to write.
        network: The weights.
        card: The card.
        applicability: What the network has seen, if that is known.
        half: Store convolution and linear weights in half precision; vectors (biases,
            normalisation statistics) stay in single, their range is larger.
    """
    tensors = {
        name: _stored(tensor.detach().cpu(), half=half)
        for name, tensor in network.state_dict().items()
    }
    if applicability is not None:
        tensors |= applicability.to_tensors()
    _write(path, tensors, card)


def replace_card(path: Path, card: ModelCard) -> None:
    """Give a model file another card; the weights stay as they are, bit by bit.

    Raises:
        HysegError: One of its kinds, as `load_model` and `save_model` raise them.
    """
    read_card(path)  # a file that is not a model is not changed
    _write(path, _read_tensors(path), card)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with opened(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def _write(path: Path, tensors: dict[str, Tensor], card: ModelCard) -> None:
    try:
        with replacing(path) as temporary:
            # safetensors creates private files; an existing file keeps its permissions.
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata={CARD_KEY: card.to_json()})
            temporary.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise HysegError(
            f"{path}: the model cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    shrink = half and tensor.dtype == torch.float32 and tensor.dim() >= 2
    return (tensor.half() if shrink else tensor).contiguous()
