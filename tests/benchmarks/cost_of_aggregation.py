"""Time and peak memory of one way to aggregate: METHOD (unfold, shift, compiled) and PASSES."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from hyseg_models.blocks.neighbourhood import aggregate
from models import oracles

BATCH, CHANNELS, KERNEL, SIDE = 2, 64, 7, 128
REPEATS = 7


def shift_loop(values: torch.Tensor, weights: torch.Tensor, kernel: int) -> torch.Tensor:
    """The plain loop over offsets, for the compiler to fuse."""
    reach, (height, width) = kernel // 2, values.shape[-2:]
    padded = torch.nn.functional.pad(values, (reach,) * 4)
    total = torch.zeros_like(values)
    for k in range(kernel**2):
        dy, dx = divmod(k, kernel)
        total = total + padded[:, :, dy : dy + height, dx : dx + width] * weights[:, k : k + 1]
    return total


def memory_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def main() -> None:
    method, passes = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    function = {
        "unfold": oracles.aggregate,
        "shift": aggregate,
        "compiled": torch.compile(shift_loop),
    }[method]
    values = torch.randn(BATCH, CHANNELS, SIDE, SIDE)
    weights = torch.randn(BATCH, KERNEL**2, SIDE, SIDE).softmax(dim=1)
    gradient = torch.randn_like(values)
    both = passes == "both"
    values.requires_grad_(both)
    weights.requires_grad_(both)

    def step() -> None:
        out = function(values, weights, KERNEL)
        if both:
            torch.autograd.grad(out, (values, weights), gradient)

    step()
    # Linux forgets the peak so far, so that the next one is that of a single step.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory_mib("VmRSS")
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    print(sorted(times)[REPEATS // 2] * 1e3, memory_mib("VmHWM") - before)


if __name__ == "__main__":
    main()
