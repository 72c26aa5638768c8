"""In which floating-point format a network runs.

bfloat16 halves what is moved and is what GPUs, and processors with AVX512-BF16 or AMX, multiply
fastest. Whether it pays on a processor is measured: some have the instructions and gain nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16"]
Choice = Literal["auto", "float32", "bfloat16"]

GAIN = 1.15
"""Times that bfloat16 has to be faster to be chosen."""
_ROUNDS = 12


def choose_precision(wanted: Choice, device_type: str, *, is_shared: bool = False) -> Precision:
    """The format that is wanted, or the faster one on this device.

    Args:
        wanted: `auto`, or a format.
        device_type: `cpu` or `cuda`.
        is_shared: Whether other machines do a part of the work: what this one is good at says
            nothing of them, so processors stay with float32.
    """
    if wanted != "auto":
        return wanted
    if device_type == "cuda":
        return "bfloat16"
    if is_shared or not has_bfloat16():
        return "float32"
    return remembered()


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16."""
    features = (
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(has() for has in features if has is not None)


def remembered() -> Precision:
    """The format that was faster on this machine, measured once and kept in the user's cache.

    Kept, so that a run that goes on does so in the format that it began with.
    """
    path = _memory()
    machine = f"{platform.machine()}, {_processor()}, torch {torch.__version__}"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text(encoding="utf-8"))[machine]
        if known in ("float32", "bfloat16"):
            found: Precision = known
            return found
    found = probe()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({machine: found}), encoding="utf-8")
    return found


def probe() -> Precision:
    """Which format runs a convolution and a linear layer faster, in about a second.

    On one thread, and the best time of each counts, that of the processor: threads that
    wait for each other, and other programs, say nothing of the processor.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {is_half: _seconds(is_half=is_half) for is_half in (False, True)}
    finally:
        torch.set_num_threads(threads)
    return "bfloat16" if seconds[True] * GAIN < seconds[False] else "float32"


def _seconds(*, is_half: bool) -> float:
    image = torch.zeros(1, 64, 96, 96).contiguous(memory_format=torch.channels_last)
    convolve = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    tokens, mix = torch.zeros(1, 1024, 384), nn.Linear(384, 1536)
    best = math.inf
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        for _ in range(_ROUNDS):
            start = time.process_time()
            convolve(image)
            mix(tokens)
            best = min(best, time.process_time() - start)
    return best


def _memory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hyseg" / "precision.json"


def _processor() -> str:
    """Model of the processor as Linux has it, or what Python knows."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kinds = ("vendor_id", "cpu family", "model", "model name", "stepping")
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        named = {key.strip(): value.strip() for key, value in facts.items()}
        return " ".join(named[key] for key in kinds if key in named)
    return platform.processor()
