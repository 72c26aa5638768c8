"""Which chips have the features of a frozen backbone kept, how many, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hyseg_cli.learn.data.chips import TrainingChips, ValidationChips
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.inference.predictor import choose_device
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.training.callbacks import Interruption
from hyseg_cli.learn.training.features import (
    CHIPS_PER_FILE,
    FeatureChips,
    backbone_aside,
    bytes_per_chip,
    key_of,
)
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.run_folder import RunFolder
from hyseg_cli.workflows.train.scenes import TrainingScenes
from hyseg_models import HySeg

FREE = frozenset(
    {
        "out", "preset", "start", "freeze", "blend", "stage", "prior", "prior_steps", "steps",
        "batch_size", "prior_rate", "rate", "class_weights", "pretrained", "backbone_weights",
        "feature_space", "feature_folder", "val_every", "patience", "workers", "device", "devices",
        "data_name", "licence", "attribution", "save_every", "resume", "tensorboard", "loggers",
        "dry_run", "overwrite", "precision", "unfreeze", "vary_features",
    }
)  # fmt: skip
"""Settings that decide neither what the chips are nor, but by the weights, what is seen in them.

All others count, those among them that are yet to come: what is computed again harms nobody."""

FEWEST = 64
"""Chips below which a pool is not worth having: it would be learned by heart."""


@dataclass(frozen=True)
class Room:
    """What features may be kept of a training."""

    chips: int
    """Training chips in the pool."""
    validation: int
    """Validation chips."""
    gigabytes: float
    """What they take together, about."""

    def __str__(self) -> str:
        return (
            f"{self.chips} chips to train on and {self.validation} to validate, "
            f"{self.gigabytes:.1f} GB"
        )


def room_for(settings: TrainSettings, network: HySeg, validation: int) -> Room | None:
    """What may be kept; None where the backbone learns, or next to nothing has room.

    Args:
        settings: The training.
        network: Its network.
        validation: Number of validation chips, of twice the side of those for training.
    """
    is_frozen = network.keeps_backbone or settings.freeze == "backbone"
    if not is_frozen or settings.devices > 1:
        return None
    one = bytes_per_chip(network, settings.chip_size)
    held_out = validation * bytes_per_chip(network, 2 * settings.chip_size)
    most = int((settings.feature_space * 1e9 - held_out) // one)
    wanted = max(settings.stage_steps) * settings.batch_size
    # Whole files, so that a longer training goes on where a shorter one has ended.
    chips = min(-(-wanted // CHIPS_PER_FILE), most // CHIPS_PER_FILE) * CHIPS_PER_FILE
    if chips < min(FEWEST, wanted):
        return None
    return Room(chips, validation, (chips * one + held_out) / 1e9)


@contextmanager
def kept_features(
    settings: TrainSettings,
    scenes: TrainingScenes,
    network: HySeg,
    standardise: Standardise,
    chips: TrainingChips,
    validation: ValidationChips | None,
    messages: Messages,
    *,
    precision: Precision,
) -> Iterator[tuple[TrainingChips | FeatureChips, ValidationChips | FeatureChips | None]]:
    """The chips of a stage with what its frozen backbone sees in them, and the backbone aside.

    They are as they came, and the backbone is where it was, if nothing may be kept.

    Raises:
        InterruptedRunError: If a signal asked to stop while features were computed.
        HysegError: If they cannot be kept.
    """
    room = room_for(settings, network, 0 if validation is None else len(validation))
    if room is None:
        yield chips, validation
        return
    pool = chips.reseeded(settings.seed, room.chips)
    key = key_of(network, standardise, [_deciding(settings), asdict(scenes.survey), precision])
    folder = (settings.feature_folder or RunFolder(settings).path / "features") / key
    training = FeatureChips(
        folder / "training", pool, size=room.chips, count=len(chips), seed=chips.seed
    )
    held_out = None
    if validation is not None:
        held_out = FeatureChips(
            folder / "validation",
            validation,
            size=len(validation),
            count=len(validation),
            seed=None,
        )
    messages.note(f"features are kept of {room}, in {folder}")
    for kept in (training, held_out):
        if kept is not None:
            _fill(kept, settings, network, standardise, precision, messages)
    with backbone_aside(network):
        yield training, held_out


def _fill(
    chips: FeatureChips,
    settings: TrainSettings,
    network: HySeg,
    standardise: Standardise,
    precision: Precision,
    messages: Messages,
) -> None:
    hint = "continue with `resume` and the same settings"
    with Interruption("the features", hint) as interruption:

        def tick(done: int, total: int) -> None:
            if interruption.received is not None:
                raise interruption.error(f"after {done} of {total} files")
            messages.advance("seeing chips through the frozen backbone", done, total)

        device = choose_device(settings.device)
        chips.fill(network, standardise, device, tick, precision=precision)
    standardise.cpu()


def _deciding(settings: TrainSettings) -> dict[str, object]:
    values = {key: value for key, value in asdict(settings).items() if key not in FREE}
    # A folder may be named in many ways: where it is counts.
    return {
        key: str(value.resolve()) if isinstance(value, Path) else value
        for key, value in values.items()
    }
