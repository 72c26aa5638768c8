"""Errors cross from a process that prepares chips to the one that tells of them."""

import signal
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from hyseg_cli import errors
from hyseg_cli.errors import HysegError, InterruptedRunError
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.chips import Augmentation, TrainingChips
from hyseg_cli.learn.training.batches import require_batch, training_loader

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HysegError) and kind is not InterruptedRunError
]


def sent(error):
    """What arrives of an error in another process."""
    return ForkingPickler.loads(bytes(ForkingPickler.dumps(error)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_in_another_process(kind):
    found = sent(kind("what", hint="do that"))
    assert type(found) is kind
    assert (found.message, found.hint, str(found)) == ("what", "do that", "what")
    assert found.exit_code == kind.exit_code


def test_an_interruption_keeps_its_signal():
    error = InterruptedRunError(signal.SIGTERM, "stopped", hint="go on")
    found = sent(error)
    assert (found.exit_code, found.received, found.hint) == (143, signal.SIGTERM, "go on")


class Broken:
    """A scene whose lower half cannot be read."""

    height, width, name, dtype, bands = 256, 128, "broken.tif", "uint8", 3

    def read(self, window):
        if window.row + window.height > 128:
            raise HysegError("broken.tif: rows cannot be read", hint="Fetch it again.")
        shape = (window.height, window.width)
        return Chip(np.zeros((3, *shape), np.uint8), np.ones(shape, bool), np.eye(*shape) > 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_error_of_a_worker_is_told_as_it_is(workers):
    chips = TrainingChips([Broken()], size=64, count=40, seed=0, augmentation=Augmentation())
    batches = training_loader(chips, 4, workers)
    with pytest.raises(HysegError, match=r"^broken.tif: rows cannot be read$") as raised:
        list(map(require_batch, batches))
    assert raised.value.hint == "Fetch it again."
