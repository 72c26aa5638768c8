"""What the networks cost when they run, beside their hosts alone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
PRESETS = [
    "default", "shared", "light", "light-shared", "cpu_smoke", "unetformer-r50", "lsknet-t",
    "dcswin-t",
]  # fmt: skip
HOST = "+ablation-host"
"""Laid over a preset, it leaves the host alone."""


def measure(name, device, number_format, threads=1):
    program = HERE / "cost_of_network.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, name, device, number_format, str(threads)],
        check=False,
        capture_output=True,
        text=True,
    )
    if "ModuleNotFoundError" in done.stderr:
        return float("nan"), float("nan")
    assert done.returncode == 0, done.stderr
    return tuple(map(float, done.stdout.split()[-2:]))


@pytest.mark.bench
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_what_a_network_costs_beside_its_host(device, capsys):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    where = torch.cuda.get_device_name() if device == "cuda" else "one thread"
    usual = "bfloat16" if device == "cuda" else "float32"
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, {where}; 512 x 512"
        )
        print("preset             s per Mpx    host alone   ratio   MiB above weights   host alone")
        for preset in PRESETS:
            whole, host = (measure(name, device, usual) for name in (preset, preset + HOST))
            print(
                f"{preset:16} {whole[0]:11.3f}  {host[0]:11.3f}   {whole[0] / host[0]:5.2f}"
                f"   {whole[1]:17.0f}   {host[1]:10.0f}",
                flush=True,
            )


@pytest.mark.bench
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_what_the_presets_take_on_all_cores(capsys):
    threads = len(os.sched_getaffinity(0))
    names = ["hyseg-0.1", "default", "plain", "vit+plain", "fast+plain", "fast",
             "smp-unet-resnet18", "segformer-b0"]  # fmt: skip
    with capsys.disabled():
        print(f"\nPython {platform.python_version()}, torch {torch.__version__}, {threads} threads")
        print("network            Mpx per s: float32   bfloat16    MiB: float32   bfloat16")
        for name in names:
            single, half = (measure(name, "cpu", kind, threads) for kind in ("float32", "bfloat16"))
            print(
                f"{name:20} {1 / single[0]:16.3f} {1 / half[0]:10.3f} {single[1]:15.0f} "
                f"{half[1]:10.0f}",
                flush=True,
            )


@pytest.mark.bench
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_what_the_presets_cost_beside_what_people_would_pick_instead(capsys):
    names = ["hyseg-0.1", "default", "vit+plain", "vit", "vit" + HOST, "fast+plain", "fast",
             "fast" + HOST, "smp-unet-resnet18", "segformer-b0"]  # fmt: skip
    with capsys.disabled():
        print(f"\nPython {platform.python_version()}, torch {torch.__version__}, one thread")
        print("network                  s per Mpx: float32   bfloat16    MiB: float32   bfloat16")
        for name in names:
            single, half = (measure(name, "cpu", kind) for kind in ("float32", "bfloat16"))
            print(
                f"{name:24} {single[0]:18.3f} {half[0]:10.3f} {single[1]:15.0f} {half[1]:10.0f}",
                flush=True,
            )
