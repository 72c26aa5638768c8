"""Pretrained weights of a backbone, from a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models import adapt_input_conv
from torch import Tensor, nn

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.learn.model.card import Radiometry, digest_of
from hyseg_models import HySeg
from hyseg_models.blocks.backbones import TimmPyramid
from hyseg_models.blocks.vit import PlainViT

METADATA_KEY = "hyseg_backbone"
"""Of the metadata of a file whose weights say what they are."""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The provenance of pretrained weights; it goes into the card of models made with them."""

    architecture: str
    """Name in timm."""
    mean: tuple[float, ...]
    """Of red, green and blue as shares of the largest value: what the weights were made for."""
    std: tuple[float, ...]
    name: str = ""
    licence: str = ""
    attribution: str = ""
    source: str = ""
    digest: str = ""
    """First 16 hexadecimal digits of the SHA-256 of the file."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def radiometry(self, found: Radiometry, bands: Sequence[str]) -> Radiometry:
        """The scaling of bands to the values that the weights were made for.

        Red, green and blue (or, where bands have other names, the first three) get the mean and
        standard deviation of the weights, over the range of 8 bits or, for other data, over the
        limits that were found. All other bands keep what was found of the training pixels.
        """
        low, high = found.limits or ((0.0,) * len(bands), (255.0,) * len(bands))
        mean, std = list(found.mean), list(found.std)
        for colour, band in enumerate(colours_of(bands)):
            span = high[band] - low[band]
            mean[band] = low[band] + self.mean[colour] * span
            std[band] = self.std[colour] * span
        return Radiometry(tuple(mean), tuple(std), found.limits)


def colours_of(bands: Sequence[str]) -> tuple[int, int, int]:
    """Which bands serve as red, green and blue: those of that name, or the first three."""
    names = [name.casefold() for name in bands]
    if set(COLOURS) <= set(names):
        red, green, blue = (names.index(colour) for colour in COLOURS)
        return red, green, blue
    last = len(names) - 1
    return 0, min(1, last), min(2, last)


def provenance_of_hub(architecture: str) -> Provenance:
    """The provenance that timm records for the weights it fetches."""
    known = timm.get_pretrained_cfg(architecture)
    if known is None:
        return Provenance(architecture=architecture, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Provenance(
        architecture=known.architecture or architecture,
        mean=tuple(known.mean),
        std=tuple(known.std),
        name=f"{known.architecture}.{known.tag}" if known.tag else architecture,
        licence=known.license or "",
        source=known.hf_hub_id or known.url or "",
    )


def load_backbone(network: HySeg, path: Path, bands: Sequence[str]) -> Provenance:
    """Give the backbone of a network, and a prior's own of the same kind, weights from a file.

    The file holds tensors by timm's names; tensors that the backbone lacks, such as a classifier,
    are ignored. The filters of the first layer of a convolutional network stay as they are for
    red, green and blue, and are zero for other bands: the features of the colours, which the
    weights were trained for, are whole from the first step. Without all three colours they are
    repeated and scaled as timm does.

    Args:
        network: What to fill, in place.
        path: The file.
        bands: Names of the network's bands.

    Raises:
        UsageProblemError: If there is no such file.
        ModelMismatchError: If it is damaged, or made for another architecture.
    """
    name = network.config.host.backbone
    tensors, provenance = _read(path, name)
    backbone = network.backbone
    if not isinstance(backbone, TimmPyramid | PlainViT):
        raise ModelMismatchError(
            f"`backbone_weights`: a {name} takes no weights from a file",
            hint="Choose a `preset` whose backbone is one of timm's.",
        )
    _fill(backbone.body, tensors, bands, path, name)
    if isinstance(backbone, TimmPyramid):
        backbone.frozen_statistics = True
    own = network.prior.condition.body if network.prior is not None else None
    if isinstance(own, TimmPyramid) and network.config.prior.condition.backbone == name:
        _fill(own.body, tensors, bands, path, name)
        own.frozen_statistics = True
    return provenance


def _read(path: Path, name: str) -> tuple[dict[str, Tensor], Provenance]:
    if not path.is_file():
        raise UsageProblemError(
            f"`backbone_weights` {path}: no such file",
            hint="examples/convert_backbone.py writes such files; `pretrained` fetches weights.",
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        stated = json.loads(metadata.get(METADATA_KEY, "{}"))
        stated = {key: stated[key] for key in Provenance.__dataclass_fields__ if key in stated}
        known = asdict(provenance_of_hub(name)) | {"name": path.name, "licence": "", "source": ""}
        values = known | stated | {"digest": digest_of(path)}
        provenance = Provenance(**{**values, **_triples(values)})
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelMismatchError(
            f"`backbone_weights` {path}: not a complete safetensors file of weights ({error})",
            hint="Fetch or convert it again (examples/convert_backbone.py); pickled checkpoints "
            "are never loaded.",
        ) from error
    wanted = name.partition(".")[0]
    if stated and provenance.architecture.partition(".")[0] != wanted:
        raise ModelMismatchError(
            f"`backbone_weights` {path}: weights of a {provenance.architecture}, not of a {wanted}",
            hint="Give the weights of the backbone of `preset`, or another `preset`.",
        )
    return tensors, provenance


def _triples(values: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Mean and deviation as three numbers each.

    Raises:
        ValueError: If they are not, or a deviation is not above zero.
    """
    found = {key: tuple(float(value) for value in values[key]) for key in ("mean", "std")}
    if {len(three) for three in found.values()} != {3} or min(found["std"]) <= 0:
        message = f"mean {found['mean']} and std {found['std']} are not of three colours"
        raise ValueError(message)
    return found


@torch.no_grad()
def _fill(
    body: nn.Module, tensors: Mapping[str, Tensor], bands: Sequence[str], path: Path, name: str
) -> None:
    # Feature extractors of timm flatten names: stages.0 of the network is their stages_0.
    known = {key.replace(".", "_"): tensor for key, tensor in tensors.items()}
    state = body.state_dict()
    for key, own in state.items():
        value = known.get(key.replace(".", "_"))
        if value is not None and value.shape != own.shape and _is_first_layer(value, own):
            value = _of_bands(value, bands)
        if value is None or value.shape != own.shape or not value.isfinite().all():
            found = "missing" if value is None else f"{tuple(value.shape)}, not {tuple(own.shape)}"
            raise ModelMismatchError(
                f"`backbone_weights` {path}: not the weights of a {name} ({key}: {found})",
                hint="Give the weights of the backbone of `preset`, by timm's names.",
            )
        own.copy_(value)


def _is_first_layer(value: Tensor, own: Tensor) -> bool:
    """Whether two filters differ only in the bands that they see."""
    is_filter = value.dim() == own.dim() == 4 and value.shape[1] == 3
    return is_filter and value.shape[:1] + value.shape[2:] == own.shape[:1] + own.shape[2:]


def _of_bands(filters: Tensor, bands: Sequence[str]) -> Tensor:
    """Filters of red, green and blue for other bands: (C, 3, k, k) -> (C, bands, k, k)."""
    if len(bands) < 3:
        adapted: Tensor = adapt_input_conv(len(bands), filters)
        return adapted
    wide = filters.new_zeros(len(filters), len(bands), *filters.shape[2:])
    wide[:, list(colours_of(bands))] = filters
    return wide
