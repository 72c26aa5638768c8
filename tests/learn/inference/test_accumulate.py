"""Compiled sums are torch's, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_cli.geo.tiling.blend import blend_weights
from hyseg_cli.geo.tiling.grid import Span
from hyseg_cli.learn.inference.accumulate import CompiledSums, DeviceSums, make_sums

CPU = torch.device("cpu")


def both(classes, height, width):
    return CompiledSums(classes, height, width, CPU), DeviceSums(classes, height, width, CPU)


@settings(deadline=None, max_examples=40)
@given(
    classes=st.integers(1, 7),
    size=st.integers(40, 400),
    overlap=st.sampled_from([0, 32, 64]),
    seed=st.integers(0, 2**32 - 1),
    tied=st.booleans(),
    left_out=st.sampled_from([0.0, 0.3]),
)
def test_compiled_sums_are_those_of_torch(classes, size, overlap, seed, tied, left_out):
    """Also where tiles are left out, since they hold no data."""
    generator = torch.Generator().manual_seed(seed)
    span = Span.cover(size, tile=128, overlap=overlap, phase=7)
    weights = blend_weights(span)
    width = span.starts[-1] + span.length - span.first
    compiled, reference = both(classes, span.length, width)
    for band in range(len(span.starts)):
        for column, start in enumerate(span.starts):
            if torch.rand(1, generator=generator) < left_out:
                continue
            logits = torch.randn(classes, span.length, span.length, generator=generator)
            tile = (logits.round() if tied else 3 * logits).softmax(dim=0)
            for sums in (compiled, reference):
                sums.add(tile, weights[band], weights[column], start - span.first)
        rows, cols = slice(3, span.length - 5), slice(1, width)
        for ask in ("classes", "quantised"):
            found, expected = (getattr(sums, ask)(rows, cols) for sums in (compiled, reference))
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.uint8
        np.testing.assert_array_equal(compiled._sums, reference._sums.numpy())
        for sums in (compiled, reference):
            sums.turn(span.overlap)


def test_of_equal_shares_the_lower_class_wins():
    for sums in both(4, 2, 3):
        sums.add(torch.tensor([0.1, 0.4, 0.1, 0.4])[:, None, None].expand(4, 2, 3), *ones(2, 3), 0)
        assert (sums.classes(slice(0, 2), slice(0, 3)) == 1).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_tiles_of_any_layout_and_type_are_added(layout):
    tiles = torch.rand(2, 3, 32, 32).to(memory_format=layout)
    compiled, reference = both(3, 32, 32)
    for tile in (tiles[0], tiles[1].to(torch.bfloat16)):
        for sums in (compiled, reference):
            sums.add(tile, *ones(32, 32), 0)
    np.testing.assert_array_equal(compiled._sums, reference._sums.numpy())


def test_the_cpu_gets_compiled_sums():
    assert isinstance(make_sums(2, 4, 4, CPU), CompiledSums)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sums_on_a_gpu_are_close():
    tile, cuda = torch.rand(3, 64, 64).softmax(dim=0), torch.device("cuda")
    on_cpu, on_gpu = make_sums(3, 64, 64, CPU), make_sums(3, 64, 64, cuda)
    weight = np.linspace(0, 1, 64, dtype=np.float32)
    on_cpu.add(tile, weight, weight, 0)
    on_gpu.add(tile.to(cuda), weight, weight, 0)
    np.testing.assert_allclose(on_gpu._sums.cpu().numpy(), on_cpu._sums, rtol=1e-6)


def ones(height, width):
    return np.ones(height, np.float32), np.ones(width, np.float32)
