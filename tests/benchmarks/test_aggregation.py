"""The weighted neighbourhood sum against the unfolded one: time and memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def measure(method, passes):
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "cost_of_aggregation.py", method, passes],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    ).stdout
    return tuple(map(float, printed.split()))


@pytest.mark.bench
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_shifting_is_faster_and_smaller_than_unfolding(capsys):
    rows = {}
    for passes in ("forward", "both"):
        for method in ("unfold", "compiled", "shift"):
            rows[method, passes] = measure(method, passes)
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, torch {torch.__version__}, 1 thread; "
            "B=2, C=64, K=7, 128 x 128, float32; medians of 7, CPU time"
        )
        print("method     pass        ms   extra MiB   times faster   times smaller")
        for (method, passes), (ms, mib) in rows.items():
            base_ms, base_mib = rows["unfold", passes]
            print(
                f"{method:10} {passes:8} {ms:6.1f}   {mib:9.1f}   {base_ms / ms:12.1f}"
                f"   {base_mib / max(mib, 0.1):13.1f}"
            )
    (unfold_ms, _), (shift_ms, _) = rows["unfold", "forward"], rows["shift", "forward"]
    (both_unfold_ms, both_unfold), (both_ms, both) = rows["unfold", "both"], rows["shift", "both"]
    # Memory is counted, not timed: it may be asserted. Times are printed for the reader.
    assert both <= both_unfold / 20
    assert min(unfold_ms, shift_ms, both_unfold_ms, both_ms) > 0
