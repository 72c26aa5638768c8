"""Tiles that run at once on the threads of a CPU."""

from __future__ import annotations

import threading

import pytest
import torch

from hyseg_cli.learn.inference.predictor import Predictor, tiles_at_once
from hyseg_cli.learn.inference.side_by_side import MOST, SideBySide, tiles_side_by_side
from hyseg_cli.learn.model.weights import load_model


@pytest.fixture
def threads():
    """Sets the number of PyTorch's threads, for this test alone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_each_part_gets_its_share_of_the_threads(threads):
    threads(7)
    running = threading.Barrier(3, timeout=20)  # passed only if all three run at once

    def run(value):
        running.wait()
        return value * 10 + torch.get_num_threads()

    run_all = SideBySide(run, 3)
    found = run_all([(torch.tensor(value),) for value in (5, 1, 4)])
    assert [int(value) for value in found] == [52, 12, 42]
    assert torch.get_num_threads() == 7


def test_a_single_part_gets_all_threads(threads):
    threads(3)
    (found,) = SideBySide(lambda _: torch.tensor(torch.get_num_threads()), 3)([(torch.zeros(1),)])
    assert int(found) == 3


def test_an_error_in_a_part_is_the_error_of_all(threads):
    threads(2)

    def run(value):
        if value:
            raise MemoryError
        return value

    with pytest.raises(MemoryError):
        SideBySide(run, 2)([(torch.tensor(0),), (torch.tensor(1),)])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("count", "tiles"), [(1, 1), (2, 2), (64, MOST)])
def test_a_cpu_runs_as_many_tiles_as_its_threads_can_share(threads, count, tiles):
    threads(count)
    assert tiles_side_by_side() == tiles
    assert tiles_at_once(torch.device("cpu"), 4) == tiles
    assert tiles_at_once(torch.device("cuda"), 4) == 4


def test_windows_side_by_side_are_those_one_by_one(tiny_model, threads):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (5, 3, 64, 64), generator=generator, dtype=torch.uint8)
    valid = torch.rand(5, 1, 64, 64, generator=generator) > 0.1
    origin = 64 * torch.arange(5).reshape(5, 1) * torch.ones(2, dtype=torch.int64)
    model = load_model(tiny_model)
    threads(1)
    alone = Predictor(model, torch.device("cpu"))(image, valid, origin)
    threads(2)
    together = Predictor(model, torch.device("cpu"))(image, valid, origin)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
