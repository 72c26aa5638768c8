"""The weighted neighbourhood sum on CUDA: one kernel forward, two backward.

Each program holds some channels of some cells of one row and walks the K^2 offsets, so every
value is read from the cache for its K^2 neighbours and nothing of size K^2 x C is written.
Import this module only where Triton is installed; with TRITON_INTERPRET=1 it runs on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_CHANNELS = 16
BLOCK_CELLS = 64


@triton.jit
def _inside(y, x, height, width):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Which cells (y, x) of one row lie inside the map."""
    # Comparing blocks only: the interpreter turns a broadcast scalar condition into integers.
    rows = tl.zeros_like(x) + y
    return (rows >= 0) & (rows < height) & (x >= 0) & (x < width)


@triton.jit  # type: ignore[untyped-decorator]
def _sum_kernel(  # type: ignore[no-untyped-def] # noqa: ANN202
    values,  # noqa: ANN001
    weights,  # noqa: ANN001
    out,  # noqa: ANN001
    channels,  # noqa: ANN001
    height,  # noqa: ANN001
    width,  # noqa: ANN001
    KERNEL: tl.constexpr,  # noqa: N803
    DILATION: tl.constexpr,  # noqa: N803
    ADJOINT: tl.constexpr,  # noqa: N803
    TOTAL: tl.constexpr,  # noqa: N803
    BLOCK_C: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    """out_j = sum_k w_jk v_{j+k}, or with ADJOINT out_j = sum_k w_{j-k,k} v_{j-k}."""
    batch = tl.program_id(0) // height
    y = tl.program_id(0) % height
    x = tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((BLOCK_C, BLOCK_X), dtype=TOTAL)
    for k in range(KERNEL * KERNEL):
        dy = (k // KERNEL - KERNEL // 2) * DILATION
        dx = (k % KERNEL - KERNEL // 2) * DILATION
        if ADJOINT:
            dy = -dy
            dx = -dx
        inside = _inside(y + dy, x + dx, height, width) & (x < width)
        if ADJOINT:
            place = ((batch * KERNEL * KERNEL + k) * height + y + dy) * width + x + dx
        else:
            place = ((batch * KERNEL * KERNEL + k) * height + y) * width + x
        weight = tl.load(weights + place, mask=inside, other=0.0).to(TOTAL)
        at = ((batch * channels + c[:, None]) * height + y + dy) * width + (x + dx)[None, :]
        seen = inside[None, :] & (c[:, None] < channels)
        value = tl.load(values + at, mask=seen, other=0.0).to(TOTAL)
        total += weight[None, :] * value
    at = ((batch * channels + c[:, None]) * height + y) * width + x[None, :]
    tl.store(out + at, total, mask=(x[None, :] < width) & (c[:, None] < channels))


@triton.jit  # type: ignore[untyped-decorator]
def _weight_gradient_kernel(  # type: ignore[no-untyped-def] # noqa: ANN202
    values,  # noqa: ANN001
    gradient,  # noqa: ANN001
    out,  # noqa: ANN001
    channels,  # noqa: ANN001
    height,  # noqa: ANN001
    width,  # noqa: ANN001
    KERNEL: tl.constexpr,  # noqa: N803
    DILATION: tl.constexpr,  # noqa: N803
    TOTAL: tl.constexpr,  # noqa: N803
    BLOCK_C: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    """out_jk = sum_c g_jc v_{j+k,c}."""
    batch = tl.program_id(0) // height
    y = tl.program_id(0) % height
    x = tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    k = tl.program_id(2)
    dy = (k // KERNEL - KERNEL // 2) * DILATION
    dx = (k % KERNEL - KERNEL // 2) * DILATION
    inside = _inside(y + dy, x + dx, height, width) & (x < width)
    total = tl.zeros((BLOCK_X,), dtype=TOTAL)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        seen = inside[None, :] & (c[:, None] < channels)
        row = (batch * channels + c[:, None]) * height + y
        pulled = tl.load(gradient + row * width + x[None, :], mask=seen, other=0.0).to(TOTAL)
        at = (row + dy) * width + (x + dx)[None, :]
        value = tl.load(values + at, mask=seen, other=0.0).to(TOTAL)
        total += tl.sum(pulled * value, axis=0)
    place = ((batch * KERNEL * KERNEL + k) * height + y) * width + x
    tl.store(out + place, total, mask=x < width)


class TritonAggregate(torch.autograd.Function):
    """`neighbourhood.aggregate`; sums are kept in float32, or float64 for such inputs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, kernel: int, dilation: int) -> Tensor:
        values, weights = values.contiguous(), weights.contiguous()
        ctx.save_for_backward(values, weights)
        ctx.neighbourhood = (kernel, dilation)
        return _weighted_sum(values, weights, kernel, dilation, adjoint=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        values, weights = ctx.saved_tensors
        kernel, dilation = ctx.neighbourhood
        grad = grad.contiguous()
        grad_values = _weighted_sum(grad, weights, kernel, dilation, adjoint=True)
        grad_weights = torch.empty_like(weights)
        batch, channels, height, width = values.shape
        grid = (batch * height, triton.cdiv(width, BLOCK_CELLS), kernel * kernel)
        _weight_gradient_kernel[grid](
            values, grad, grad_weights, channels, height, width, kernel, dilation,
            _total_type(values), BLOCK_CHANNELS, BLOCK_CELLS,
        )  # fmt: skip
        return grad_values, grad_weights, None, None


def _weighted_sum(
    values: Tensor, weights: Tensor, kernel: int, dilation: int, *, adjoint: bool
) -> Tensor:
    out = torch.empty_like(values)
    batch, channels, height, width = values.shape
    grid = (
        batch * height,
        triton.cdiv(width, BLOCK_CELLS),
        triton.cdiv(channels, BLOCK_CHANNELS),
    )
    _sum_kernel[grid](
        values, weights, out, channels, height, width, kernel, dilation, adjoint,
        _total_type(values), BLOCK_CHANNELS, BLOCK_CELLS,
    )  # fmt: skip
    return out


def _total_type(values: Tensor) -> Any:
    return tl.float64 if values.dtype == torch.float64 else tl.float32
