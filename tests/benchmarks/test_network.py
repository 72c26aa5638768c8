"""What the networks cost when they run, beside their hosts alone."""

from __future__ import annotations

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


def measure(preset, device):
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "cost_of_network.py", preset, device],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(map(float, printed.split()[-2:]))


@pytest.mark.bench
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_what_a_network_costs_beside_its_host(device, capsys):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    where = torch.cuda.get_device_name() if device == "cuda" else "one thread"
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, {where}; 512 x 512"
        )
        print("preset             s per Mpx    host alone   ratio   MiB above weights   host alone")
        for preset in PRESETS:
            whole, host = measure(preset, device), measure(preset + HOST, device)
            print(
                f"{preset:16} {whole[0]:11.3f}  {host[0]:11.3f}   {whole[0] / host[0]:5.2f}"
                f"   {whole[1]:17.0f}   {host[1]:10.0f}",
                flush=True,
            )
