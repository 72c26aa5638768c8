"""The frozen transformer of a model, as the backbone of a probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.learn.model.card import ModelCard, Radiometry, opened, read_card
from hyseg_models import ConfigError, HySeg, HySegConfig, build
from hyseg_models.config.config import HeadConfig, HostConfig
from hyseg_models.config.probe_config import ProbeConfig

PREFIX = "backbone.body."
"""Of the names of its tensors in a model file."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue as shares of the largest value, as the transformers were trained."""
IMAGENET_STD = (0.229, 0.224, 0.225)


def transformer_of(card: ModelCard) -> str | None:
    """Name in timm of the plain vision transformer of a model, None if it has none."""
    config = card.config
    if config.host.name == "probe":
        return config.probe.backbone
    name = config.host.backbone
    return name if name.startswith(("vit_", "deit")) else None


def probe_config(card: ModelCard, bands: int, classes: int) -> HySegConfig:
    """The probe on the transformer of a model, for some bands and classes.

    Raises:
        ModelMismatchError: If the model has no plain vision transformer.
    """
    name = transformer_of(card)
    if name is None:
        raise ModelMismatchError(
            f"a {card.config.host.backbone} is not a plain vision transformer",
            hint="Give `start` a model that has one, such as the built-in one.",
        )
    base = ProbeConfig(backbone=name)
    if card.config.host.name == "probe":
        base = card.config.probe
    seen = (0, min(1, bands - 1), min(2, bands - 1))
    return HySegConfig(
        bands=bands,
        classes=classes,
        head=HeadConfig(kind="none", prior="none", message="identity"),
        host=HostConfig(name="probe", backbone=name, frozen=True),
        probe=replace(base, seen=seen),
    )


def build_probe(path: Path, config: HySegConfig) -> HySeg:
    """A probe with the transformer in a model file; its head is not fitted yet.

    Raises:
        ModelMismatchError: If the file holds no such transformer.
        HysegError: If it is damaged.
    """
    try:
        network = build(config)
    except ConfigError as error:
        raise ModelMismatchError(
            f"{path}: its transformer cannot be used ({error})", hint="Give another `start`."
        ) from error
    state = network.backbone.state_dict()
    with opened(path, framework="pt") as file:
        names = set(file.keys())
        for name, own in state.items():
            key = f"backbone.{name}"
            if key not in names or file.get_slice(key).get_shape() != list(own.shape):
                raise ModelMismatchError(
                    f"{path} lacks {key} of a {config.probe.backbone}",
                    hint="Give `start` another model.",
                )
            own.copy_(file.get_tensor(key).to(own.dtype))
    return network.eval()


def radiometry_of(path: Path, dtype: str, bands: int, found: Radiometry) -> Radiometry:
    """How pixel values become what a transformer was trained on.

    Its model's way where that knows such data; else the mean and deviation of ImageNet over the
    range of 8 bits, or for other data over the limits that were found.
    """
    card = read_card(path)
    if card.dtype == dtype and len(card.bands) == bands and dtype == "uint8":
        return card.radiometry
    low, high = found.limits or ((0.0,) * bands, (255.0,) * bands)
    spans = [max(top - bottom, 1e-6) for bottom, top in zip(low, high, strict=True)]
    mean = tuple(low[b] + IMAGENET_MEAN[min(b, 2)] * spans[b] for b in range(bands))
    std = tuple(IMAGENET_STD[min(b, 2)] * spans[b] for b in range(bands))
    return Radiometry(mean, std, found.limits)
