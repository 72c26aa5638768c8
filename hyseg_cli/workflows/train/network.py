"""The network that a training starts with: new, with another's prior, or from a whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.learn.data.benchmarks import BENCHMARKS
from hyseg_cli.learn.model.backbone import (
    Provenance,
    colours_of,
    load_backbone,
    provenance_of_hub,
)
from hyseg_cli.learn.model.card import Radiometry, read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.scenes import TrainingScenes
from hyseg_models import ConfigError, HySeg, HySegConfig, WeightsUnavailableError, build, preset
from hyseg_models.config.probe_config import ProbeConfig
from hyseg_models.transfer import transfer_weights

RGB = ("red", "green", "blue")


def band_names(settings: TrainSettings, bands: int) -> tuple[str, ...]:
    """Names of the bands for the model card, by which other scenes are read in the right order.

    Raises:
        UsageProblemError: If names were given, but not one for each band.
    """
    if settings.band_names:
        if len(settings.band_names) != bands:
            raise UsageProblemError(
                f"{len(settings.band_names)} names for {bands} bands",
                hint="Give `band_names` once for each band, in their order.",
            )
        return settings.band_names
    if settings.benchmark is not None:
        return BENCHMARKS[settings.benchmark].bands
    chosen = settings.bands or tuple(range(1, bands + 1))
    if chosen == (1, 2, 3):
        return RGB
    return tuple(f"band{index}" for index in chosen)


@dataclass(frozen=True)
class Start:
    """A network before its first step."""

    network: HySeg
    known: Mapping[str, Tensor] = field(default_factory=dict)
    """Copies of the weights that came from the model it starts from, by name."""
    is_complete: bool = False
    """Whether that model knew all of the classes."""
    provenance: Provenance | None = None
    """Of the pretrained weights of the backbone."""
    donor: Model | None = None
    """The model that it starts from."""

    @property
    def origin(self) -> dict[str, Any]:
        """Whose weights it starts from, and whose data these have seen, for the card."""
        if self.provenance is not None:
            return {"backbone": self.provenance.to_dict()}
        if self.donor is None:
            return {}
        training, data = self.donor.card.training, self.donor.card.data
        known = {"name": data.name, "licence": data.licence, "attribution": data.attribution}
        found = {"start": {"digest": self.donor.digest, "data": known}}
        if "backbone" in training:
            found["backbone"] = training["backbone"]
        return found


def start_network(settings: TrainSettings, scenes: TrainingScenes, messages: Messages) -> Start:
    """The network that is trained: new, or with the weights of a model.

    Raises:
        UsageProblemError: If the preset or pretrained weights are not available.
        ModelMismatchError: If a model or prior to start from does not fit.
    """
    start = _start(settings, scenes, messages)
    if settings.unfreeze != "none":
        _unfreeze(start.network, all_of_it=settings.unfreeze == "all")
    return start


def _unfreeze(network: HySeg, *, all_of_it: bool) -> None:
    if network.shares_backbone:
        raise UsageProblemError(
            "`unfreeze`: the prior of this network has learned with its backbone as it is",
            hint="Choose a `preset` without such a prior, for example by +plain.",
        )
    # What a few polygons are learned from stays the same in all models.
    known = 0 if all_of_it else ProbeConfig().depths[-1]
    try:
        network.unfreeze(after=known)
    except ConfigError as error:
        raise UsageProblemError(
            f"`unfreeze` last: {error}", hint="Use all, or a `preset` with a transformer: vit."
        ) from error


def _start(settings: TrainSettings, scenes: TrainingScenes, messages: Messages) -> Start:
    if settings.start is not None:
        return _go_on_from(settings, scenes, messages)
    try:
        config = _sized(preset(settings.preset), settings, scenes)
        network = build(config, pretrained=settings.pretrained)
    except ConfigError as error:
        raise UsageProblemError(f"`preset`: {error}", hint="Choose one of these.") from error
    except WeightsUnavailableError as error:
        raise UsageProblemError(
            str(error), hint="Go online once, or train from random weights without `pretrained`."
        ) from error
    provenance = _provenance(network, settings)
    if settings.stage == "prior" and network.prior is None:
        raise UsageProblemError(
            f"`preset` {settings.preset} has no prior to train",
            hint="Train it with `stage` all, or choose another `preset`.",
        )
    if settings.prior is not None:
        _take_over_prior(network, find_model(settings.prior))
    elif network.segmentor is not None:
        raise UsageProblemError(
            f"`preset` {settings.preset} uses another model as its prior",
            hint="Train that one first and give it with `prior` MODEL.",
        )
    return Start(network, provenance=provenance)


def _sized(config: HySegConfig, settings: TrainSettings, scenes: TrainingScenes) -> HySegConfig:
    bands = scenes.training[0].bands
    host = replace(config.host, seen=colours_of(band_names(settings, bands)))
    return replace(config, bands=bands, classes=len(scenes.legend), host=host)


def _provenance(network: HySeg, settings: TrainSettings) -> Provenance | None:
    """Fill the backbone from a file, if there is one; returns the provenance of its weights."""
    if settings.backbone_weights is not None:
        bands = band_names(settings, network.config.bands)
        return load_backbone(network, settings.backbone_weights, bands)
    if settings.pretrained:
        return provenance_of_hub(network.config.host.backbone)
    if network.config.host.frozen and settings.prior is None:
        raise UsageProblemError(
            f"`preset` {settings.preset} keeps its backbone as it is, so that needs weights",
            hint="Give `backbone_weights` FILE, or fetch them with `pretrained`.",
        )
    return None


def _go_on_from(settings: TrainSettings, scenes: TrainingScenes, messages: Messages) -> Start:
    """A network of the donor's kind, with its weights for the classes and bands of that name."""
    path = find_model(settings.start)
    donor = load_model(path)
    network = build(_sized(donor.card.config, settings, scenes))
    classes = _origins(scenes.legend.names, donor.card.legend.names)
    bands = band_names(settings, network.config.bands)
    done = transfer_weights(donor.network, network, classes, _origins(bands, donor.card.bands))
    new = [name for name, at in zip(scenes.legend.names, classes, strict=True) if at is None]
    messages.note(
        f"from {path.name}: {len(done.whole)} tensors taken over, {len(done.mapped)} by class or "
        f"band, {len(done.fresh)} started anew; new classes: {', '.join(new) or 'none'}"
    )
    weights = network.state_dict()
    # Where a class is new, part of a mapped tensor is random.
    names = done.whole if new else done.whole + done.mapped
    known = {name: weights[name].clone() for name in names}
    return Start(network, known, not new, donor=donor)


def radiometry_for(
    settings: TrainSettings, scenes: TrainingScenes, provenance: Provenance | None = None
) -> Radiometry:
    """How pixel values become network input.

    Pretrained weights get the scaling they were made for. A network that starts from a model with
    the same bands keeps that model's scaling: its weights fit it, and a few images, which may be
    bright or dark, say little about others.
    """
    found = scenes.survey.radiometry
    if provenance is not None:
        return provenance.radiometry(found, band_names(settings, scenes.training[0].bands))
    if settings.start is None:
        return found
    donor = read_card(find_model(settings.start))
    names = band_names(settings, scenes.training[0].bands)
    is_same = donor.bands == names and donor.dtype == scenes.training[0].dtype
    return donor.radiometry if is_same else found


def _origins(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The position of each name among the known ones; case does not matter."""
    places = {name.casefold(): index for index, name in enumerate(known)}
    return [places.get(name.casefold()) for name in wanted]


def _take_over_prior(network: HySeg, path: Path) -> None:
    """Copy the prior of another model, or the whole model if it serves as the prior."""
    donor = load_model(path).network
    if network.prior is None and network.segmentor is None:
        _take_over_encoder(network, donor, path)
        return
    target: nn.Module | None = network.prior
    source: nn.Module | None = donor.prior
    same = donor.config.prior == network.config.prior
    if network.segmentor is not None:
        target, source = network.segmentor, donor
        same = donor.config.host == network.config.head.segmentor
        same = same and donor.config.head.kind == "none"
    same = same and donor.config.classes == network.config.classes
    if not same or target is None or source is None:
        raise ModelMismatchError(
            f"the prior of {path} is not built like that of this run",
            hint="Use the same `preset`, legend and bands as the model's own training.",
        )
    target.load_state_dict(source.state_dict())
    if network.shares_backbone:
        if donor.config.host.backbone != network.config.host.backbone:
            raise ModelMismatchError(
                f"the prior of {path} uses another backbone",
                hint="Use the same `preset` as the model's own training.",
            )
        network.backbone.load_state_dict(donor.backbone.state_dict())
    if network.prior is not None:
        network.temperature.copy_(donor.temperature)


def _take_over_encoder(network: HySeg, donor: HySeg, path: Path) -> None:
    """Give a network without a prior the encoder of another model, for a fair comparison."""
    if not _copy_encoder(donor, network):
        raise ModelMismatchError(
            f"{path} has no prior whose encoder is a {network.config.host.backbone}",
            hint="Leave out `prior`, or give a model whose prior uses this backbone.",
        )


def share_encoder(network: HySeg) -> None:
    """Start the host's backbone from the prior's encoder, as far as both are the same network.

    Without pretrained weights, the host would have to learn again what the encoder has just
    learned. A bare host gets the same start with `prior`.
    """
    if network.prior is not None:
        _copy_encoder(network, network)


def _copy_encoder(donor: HySeg, network: HySeg) -> bool:
    """Copy the encoder of a prior to a host's backbone; False if they are not of one kind."""
    condition = donor.config.prior.condition
    if donor.prior is None or condition.kind != "timm":
        return False
    if condition.backbone != network.config.host.backbone:
        return False
    target = network.backbone.state_dict()
    learned = donor.prior.condition.body.state_dict()
    target.update({name: value for name, value in learned.items() if name in target})
    network.backbone.load_state_dict(target)
    return True
