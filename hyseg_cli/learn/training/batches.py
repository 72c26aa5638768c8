"""Batches of chips, prepared in this process or in worker processes."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import DataLoader, Dataset, default_collate

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.training.processes import Processes

Batch = Sample | HysegError
"""Stacked samples, or the error of the worker that prepared them."""

ALONE = Processes()


def training_loader(
    chips: Dataset[Sample], batch_size: int, workers: int, processes: Processes = ALONE
) -> DataLoader[Batch]:
    """Batches of training chips in order; of each batch, the part of this process."""
    own = processes.share_of(batch_size)
    reporting = _Reporting(chips)
    first = processes.rank * own
    order = [
        start + first + chip
        for start in range(0, len(reporting), batch_size)
        for chip in range(own)
    ]
    return DataLoader(
        reporting,
        batch_size=own,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=stacked,
    )


def validation_loader(
    chips: Dataset[Sample], batch_size: int, processes: Processes = ALONE
) -> DataLoader[Sample]:
    """Batches of validation chips, which have four times the pixels; the part of this process."""
    order = range(len(chips))[processes.rank :: processes.count]  # type: ignore[arg-type]
    return DataLoader(chips, batch_size=max(1, processes.share_of(batch_size) // 4), sampler=order)


def stacked(samples: Sequence[Batch]) -> Batch:
    """Samples as one batch, or the first error among them."""
    for sample in samples:
        if isinstance(sample, HysegError):
            return sample
    batch: Sample = default_collate(list(samples))
    return batch


def require_batch(batch: Batch) -> Sample:
    """The batch itself.

    Raises:
        HysegError: If a worker could not prepare it.
    """
    if isinstance(batch, HysegError):
        raise batch
    return batch


class _Reporting(Dataset[Batch]):
    """Returns errors as items.

    torch re-raises the error of a worker from its type and a traceback, without its hint.
    """

    def __init__(self, chips: Dataset[Sample]) -> None:
        self.chips = chips

    def __len__(self) -> int:
        return len(self.chips)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Batch:
        try:
            return self.chips[index]
        except HysegError as error:
            return error
