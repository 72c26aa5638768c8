"""Two operators on K x K neighbourhoods: distances to the neighbours, and weighted sums of them.

Neighbour k of cell (y, x) is (y + dy_k, x + dx_k), with the offsets in row-major order and the
cell itself in the middle. Cells outside the map count as zeros; masks are the caller's matter
(`neighbour_validity`).

Both operators loop over the K^2 offsets and add in place, forward and backward, so that no
tensor of K^2 x C x cells is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def neighbour_distances(values: Tensor, kernel: int, dilation: int = 1) -> Tensor:
    """Squared Euclidean distance over channels between each cell and its neighbours.

    Args:
        values: (B, C, H, W).
        kernel: Side K of the neighbourhood, odd.
        dilation: Cells between neighbours.

    Returns:
        (B, K^2, H, W), zero at the middle offset.
    """
    if torch.compiler.is_exporting():
        return distances_unfolded(values, kernel, dilation)
    result: Tensor = _NeighbourDistances.apply(values, kernel, dilation)
    return result


def distances_unfolded(values: Tensor, kernel: int, dilation: int = 1) -> Tensor:
    """What `neighbour_distances` gives, in operators that exporters know."""
    batch, channels, height, width = values.shape
    near = F.unfold(values, kernel, dilation, _reach(kernel, dilation))
    near = near.reshape(batch, channels, kernel * kernel, height, width)
    return (near - values.unsqueeze(2)).square().sum(dim=1)


def aggregate(
    values: Tensor,
    weights: Tensor,
    kernel: int,
    dilation: int = 1,
    *,
    backend: Literal["shift", "triton"] = "shift",
) -> Tensor:
    """Sum of the neighbours of each cell, weighted cell by cell.

    out[b, c, y, x] = sum_k weights[b, k, y, x] * values[b, c, y + dy_k, x + dx_k]

    Args:
        values: (B, C, H, W).
        weights: (B, K^2, H, W).
        kernel: Side K of the neighbourhood, odd.
        dilation: Cells between neighbours.
        backend: `shift` runs everywhere; `triton` needs a CUDA device, or Triton's interpreter.

    Returns:
        (B, C, H, W).
    """
    if backend == "triton":
        from hyseg_models.blocks.neighbourhood_triton import (
            TritonAggregate,  # not on every platform
        )

        fused: Tensor = TritonAggregate.apply(values, weights, kernel, dilation)
        return fused
    if torch.compiler.is_exporting():
        # Exporters trace the sums in place wrongly, and without an error.
        return aggregate_unfolded(values, weights, kernel, dilation)
    result: Tensor = _Aggregate.apply(values, weights, kernel, dilation)
    return result


def aggregate_unfolded(values: Tensor, weights: Tensor, kernel: int, dilation: int = 1) -> Tensor:
    """What `aggregate` gives, in operators that exporters know; needs K^2 times the memory."""
    batch, channels, height, width = values.shape
    near = F.unfold(values, kernel, dilation, _reach(kernel, dilation))
    near = near.reshape(batch, channels, kernel * kernel, height, width)
    return (near * weights.unsqueeze(1)).sum(dim=2)


def neighbour_validity(valid: Tensor, kernel: int, dilation: int = 1) -> Tensor:
    """Which neighbours lie inside the map and are valid; the cell itself always counts.

    Args:
        valid: bool (B, 1, H, W).
        kernel: Side K of the neighbourhood, odd.
        dilation: Cells between neighbours.

    Returns:
        bool (B, K^2, H, W).
    """
    height, width = valid.shape[-2:]
    padded = F.pad(valid, (_reach(kernel, dilation),) * 4, value=False)
    shifted = [
        padded[:, :, rows, columns] for rows, columns in _shifts(kernel, dilation, height, width)
    ]
    shifted[len(shifted) // 2] = torch.ones_like(valid)
    return torch.cat(shifted, dim=1)


def _reach(kernel: int, dilation: int) -> int:
    return kernel // 2 * dilation


def _shifts(kernel: int, dilation: int, height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Where each offset's neighbours lie in a map padded by the reach, in row-major order."""
    for dy in range(0, kernel * dilation, dilation):
        for dx in range(0, kernel * dilation, dilation):
            yield slice(dy, dy + height), slice(dx, dx + width)


BAND_BYTES = 1 << 20
"""On a CPU, work on small maps together, or bands of rows of a large one, up to this size: they
stay in the cache for all K^2 offsets."""


def _bands(values: Tensor) -> Iterator[tuple[slice, slice]]:
    """Samples and rows of the parts of a map (B, C, H, W) to work on, one after the other."""
    batch, channels, height, width = values.shape
    if values.device.type != "cpu":
        yield slice(0, batch), slice(0, height)
        return
    rows = max(1, BAND_BYTES // (channels * width * values.element_size()))
    together = max(1, rows // height)
    for sample in range(0, batch, together):
        for start in range(0, height, rows):
            yield slice(sample, sample + together), slice(start, min(start + rows, height))


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, kernel: int, dilation: int) -> Tensor:
        # Channels-last maps would be walked across their memory, at five times the cost.
        values = values.contiguous()
        ctx.save_for_backward(values, weights)
        ctx.neighbourhood = (kernel, dilation)
        padded = F.pad(values, (_reach(kernel, dilation),) * 4)
        total = torch.zeros_like(values)
        for samples, rows in _bands(values):
            band = total[samples, :, rows]
            height, width = band.shape[-2:]
            near = padded[samples, :, rows.start :]
            for k, place in enumerate(_shifts(kernel, dilation, height, width)):
                band.addcmul_(near[:, :, *place], weights[samples, k : k + 1, rows])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values, weights = ctx.saved_tensors
        kernel, dilation = ctx.neighbourhood
        reach = _reach(kernel, dilation)
        grad = grad.contiguous()
        padded = F.pad(values, (reach,) * 4)
        grad_padded = torch.zeros_like(padded)
        grad_weights = torch.empty_like(weights)
        for samples, rows in _bands(values):
            band = grad[samples, :, rows]
            near, grad_near = (x[samples, :, rows.start :] for x in (padded, grad_padded))
            product = torch.empty_like(band)
            for k, place in enumerate(_shifts(kernel, dilation, *band.shape[-2:])):
                grad_near[:, :, *place].addcmul_(band, weights[samples, k : k + 1, rows])
                torch.mul(band, near[:, :, *place], out=product)
                torch.sum(product, dim=1, out=grad_weights[samples, k, rows])
        height, width = values.shape[-2:]
        grad_values = grad_padded[:, :, reach : reach + height, reach : reach + width]
        return grad_values, grad_weights, None, None


class _NeighbourDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, kernel: int, dilation: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.neighbourhood = (kernel, dilation)
        batch, _, height, width = values.shape
        padded = F.pad(values, (_reach(kernel, dilation),) * 4)
        distances = values.new_empty(batch, kernel * kernel, height, width)
        for k, (rows, columns) in enumerate(_shifts(kernel, dilation, height, width)):
            difference = values - padded[:, :, rows, columns]
            torch.sum(difference.square_(), dim=1, out=distances[:, k])
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (values,) = ctx.saved_tensors
        kernel, dilation = ctx.neighbourhood
        reach = _reach(kernel, dilation)
        padded = F.pad(values, (reach,) * 4)
        grad_padded = torch.zeros_like(padded)
        height, width = values.shape[-2:]
        middle = (slice(reach, reach + height), slice(reach, reach + width))
        for k, (rows, columns) in enumerate(_shifts(kernel, dilation, height, width)):
            # d(difference^2) pulls the cell towards its neighbour and the neighbour towards it.
            pull = (values - padded[:, :, rows, columns]).mul_(2.0 * grad[:, k : k + 1])
            grad_padded[:, :, *middle].add_(pull)
            grad_padded[:, :, rows, columns].sub_(pull)
        return grad_padded[:, :, *middle], None, None
