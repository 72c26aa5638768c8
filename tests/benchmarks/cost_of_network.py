"""What a network costs: NAME DEVICE FORMAT [THREADS]; prints s per Mpx and MiB above the weights.

NAME is a preset, run as `hyseg predict` runs it, or one of `PEERS`; FORMAT is float32 or bfloat16.
With more threads than one, the time is that of the clock, for as many tiles: presets share them
as `hyseg predict` does, and the others put all threads on one tile after the other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from hyseg_cli.learn.inference.predictor import mapping_copy
from hyseg_cli.learn.inference.side_by_side import SideBySide
from hyseg_models import build, preset

SIDE = 512
REPEATS = 5
TILES = {"cpu": 1, "cuda": 8}


def memory_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def unet_resnet18() -> nn.Module:
    """The U-Net of segmentation_models_pytorch, as most people would build it."""
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.Unet("resnet18", encoder_weights=None, classes=7)
    return network


class Segformer(nn.Module):
    """SegFormer-B0 of transformers, its scores enlarged to the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        self.body = SegformerForSemanticSegmentation(SegformerConfig(num_labels=7))

    def forward(self, image: Tensor) -> Tensor:
        return functional.interpolate(
            self.body(image).logits, size=image.shape[-2:], mode="bilinear"
        )


def first_default() -> nn.Module:
    """The default network of hyseg 0.1, batch norms and all, as that version ran it."""
    return build(preset("default+unrepaired"))


PEERS: dict[str, Callable[[], nn.Module]] = {
    "hyseg-0.1": first_default,
    "smp-unet-resnet18": unet_resnet18,
    "segformer-b0": Segformer,
}


def main() -> None:
    name, kind, number_format, *more = sys.argv[1:]
    threads = int(more[0]) if more else 1
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device(kind)
    if name in PEERS:
        network = PEERS[name]().eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    else:
        network = mapping_copy(build(preset(name)), device, number_format)
    image = torch.randn(max(TILES[kind], threads), 3, SIDE, SIDE, device=kind)
    image = image.contiguous(memory_format=torch.channels_last)

    def run(part: Tensor) -> Tensor:
        is_half = number_format == "bfloat16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=is_half):
            found = network(part)
        return part if isinstance(found, tuple) else found

    side_by_side = SideBySide(run, threads)

    def step() -> None:
        if kind == "cuda":
            run(image)
        elif name in PEERS:
            for tile in image.split(1):
                run(tile)
        else:
            side_by_side([(tile,) for tile in image.split(1)])
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
        # One thread: its own time, which other programs do not slow down, is what it takes.
        clock = time.thread_time if kind == "cpu" and threads == 1 else time.perf_counter
        started = clock()
        step()
        times.append(clock() - started)
    peak = torch.cuda.max_memory_allocated() / 2**20 if kind == "cuda" else memory_mib("VmHWM")
    print(sorted(times)[REPEATS // 2] * 1e6 / image[:, 0].numel(), peak - before)


if __name__ == "__main__":
    main()
