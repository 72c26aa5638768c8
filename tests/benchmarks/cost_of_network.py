"""What running a network costs: PRESET DEVICE; prints s per megapixel and MiB above the weights."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from hyseg_models import build, preset

SIDE = 512
REPEATS = 5
TILES = {"cpu": 1, "cuda": 8}


def memory_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def main() -> None:
    name, kind = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset(name)
    network = build(config).eval().to(kind, memory_format=torch.channels_last)
    image = torch.randn(TILES[kind], config.bands, SIDE, SIDE, device=kind)
    image = image.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        # As `hyseg predict` runs it: half precision on a GPU, single on a CPU.
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            network(image)
        if kind == "cuda":
            torch.cuda.synchronize()

    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        # Linux forgets the peak so far, so that the next one is that of these steps.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = memory_mib("VmRSS")
    step()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 2**20 if kind == "cuda" else memory_mib("VmHWM")
    print(sorted(times)[REPEATS // 2] * 1e6 / image[:, 0].numel(), peak - before)


if __name__ == "__main__":
    main()
