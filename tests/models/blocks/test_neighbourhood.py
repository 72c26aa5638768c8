import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hyseg_models.blocks.neighbourhood import (
    aggregate,
    aggregate_unfolded,
    distances_unfolded,
    neighbour_distances,
    neighbour_validity,
)
from models import oracles

TESTS = Path(__file__).resolve().parents[2]
CASES = [(3, 1), (5, 1), (3, 2), (7, 1)]


def random_pair(kernel, size=(6, 9), dtype=torch.float64):
    values = torch.randn(2, 3, *size, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, kernel**2, *size, dtype=dtype, requires_grad=True)
    return values, weights


@pytest.mark.parametrize(("kernel", "dilation"), CASES)
def test_aggregate_equals_the_unfolded_sum(kernel, dilation):
    values, weights = random_pair(kernel)
    ours = aggregate(values, weights, kernel, dilation)
    theirs = oracles.aggregate(values, weights, kernel, dilation)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(ours)
    for found, expected in zip(
        torch.autograd.grad(ours, (values, weights), grad),
        torch.autograd.grad(theirs, (values, weights), grad),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kernel", "dilation"), CASES)
def test_distances_equal_the_unfolded_ones(kernel, dilation):
    values, _ = random_pair(kernel)
    ours = neighbour_distances(values, kernel, dilation)
    theirs = oracles.neighbour_distances(values, kernel, dilation)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, values, grad), torch.autograd.grad(theirs, values, grad)
    )


def test_gradients_are_those_of_finite_differences():
    values, weights = random_pair(3, size=(4, 5))
    assert torch.autograd.gradcheck(lambda v, w: aggregate(v, w, 3), (values, weights))
    assert torch.autograd.gradcheck(lambda v: neighbour_distances(v, 3, 2), (values,))


def test_a_map_smaller_than_the_neighbourhood_is_no_problem():
    values, weights = random_pair(7, size=(1, 2))
    torch.testing.assert_close(aggregate(values, weights, 7), oracles.aggregate(values, weights, 7))


def test_validity_counts_neighbours_inside_and_the_cell_itself():
    valid = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    valid[..., 1, 1] = False
    counts = neighbour_validity(valid, 3).sum(dim=1)[0]
    # the corner sees itself and two neighbours; the empty cell sees eight and itself
    assert counts[0, 0] == 3
    assert counts[1, 1] == 9
    assert counts[3, 3] == 4


TRITON_CHECK = """
import torch
from models import oracles
from hyseg_models.blocks.neighbourhood import aggregate

torch.manual_seed(0)
for (batch, channels, height, width), kernel, dilation, dtype in (
    ((2, 3, 4, 5), 3, 1, torch.float32),
    ((1, 17, 2, 66), 3, 2, torch.float32),  # more than one block of channels and of cells
    ((1, 2, 5, 6), 5, 1, torch.float64),
):
    values = torch.randn(batch, channels, height, width, dtype=dtype, requires_grad=True)
    weights = torch.randn(batch, kernel**2, height, width, dtype=dtype, requires_grad=True)
    ours = aggregate(values, weights, kernel, dilation, backend="triton")
    theirs = oracles.aggregate(values, weights, kernel, dilation)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (values, weights), grad),
        torch.autograd.grad(theirs, (values, weights), grad),
    )
values = torch.randn(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
weights = torch.randn(1, 9, 2, 2, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(
    lambda v, w: aggregate(v, w, 3, backend="triton"), (values, weights)
)
"""


def test_the_triton_kernels_equal_the_unfolded_sum_in_the_interpreter():
    pytest.importorskip("triton", reason="Triton is not on this platform")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(TESTS)}
    subprocess.run([sys.executable, "-c", TRITON_CHECK], check=True, env=environment, timeout=280)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("kernel", "dilation"), CASES)
def test_the_triton_kernels_equal_the_unfolded_sum_on_the_gpu(kernel, dilation):
    values = torch.randn(2, 64, 96, 130, device="cuda", requires_grad=True)
    weights = torch.randn(2, kernel**2, 96, 130, device="cuda", requires_grad=True)
    ours = aggregate(values, weights, kernel, dilation, backend="triton")
    theirs = oracles.aggregate(values, weights, kernel, dilation)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(ours)
    for found, expected in zip(
        torch.autograd.grad(ours, (values, weights), grad),
        torch.autograd.grad(theirs, (values, weights), grad),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (7, 1), (5, 2)])
def test_what_is_exported_is_what_runs(kernel, dilation):
    torch.manual_seed(0)
    values = torch.randn(2, 6, 13, 17)
    weights = torch.rand(2, kernel**2, 13, 17)
    torch.testing.assert_close(
        aggregate_unfolded(values, weights, kernel, dilation),
        aggregate(values, weights, kernel, dilation),
    )
    torch.testing.assert_close(
        distances_unfolded(values, kernel, dilation), neighbour_distances(values, kernel, dilation)
    )
