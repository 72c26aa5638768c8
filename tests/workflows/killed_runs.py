"""Map a scene again and again, kill it at random moments, and print what is found as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hyseg_cli.geo.tiling import blocks
from hyseg_cli.messages import Silence
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict import run as predict


def start(settings: PredictSettings) -> int:
    """Map in a process of its own, which ends with 0 when the map is there."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        predict.run(settings, Silence())
        os._exit(0)
    return child


def shards(out: Path) -> dict[str, int]:
    return {
        p.name: p.stat().st_mtime_ns for p in out.with_name(f"{out.name}.hyseg").glob("row*.tif")
    }


def main() -> None:
    scene, model, folder, kills, seed = sys.argv[1:]
    blocks.BLOCK_PIXELS = 6000
    rng = np.random.default_rng(int(seed))
    out = Path(folder) / "map.tif"
    settings = PredictSettings(
        inputs=(scene,), out=out, model=Path(model), tile_size=64, overlap=32, device="cpu"
    )
    started = time.monotonic()
    _, status = os.waitpid(start(settings), 0)
    whole, expected = time.monotonic() - started, out.read_bytes()
    found = {"first": status, "killed": 0, "completed": 0, "recomputed": 0, "moments": []}
    out.unlink()
    while found["killed"] < int(kills):
        before, child = shards(out), start(settings)
        delay = rng.uniform(0.0, 1.1 * whole / (1 + 2 * (found["killed"] % 3)))
        time.sleep(delay)
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        after = shards(out)
        found["recomputed"] += sum(after.get(n, t) != t for n, t in before.items())
        if os.WIFSIGNALED(status):
            found["killed"] += 1
            found["moments"].append([round(delay / whole, 3), len(after), out.exists()])
        elif status != 0:
            sys.exit(f"a run ended with {status}")
        if out.exists():
            # Whole, whatever the moment: it gets its name when it is complete.
            if out.read_bytes() != expected:
                sys.exit("a map stands under its name that is not the map")
            if after:
                os.waitpid(start(settings), 0)
            found["completed"] += 1
            out.unlink()
    _, status = os.waitpid(start(settings), 0)
    found["last"] = status
    found["same"] = out.read_bytes() == expected
    found["left"] = sorted(path.name for path in Path(folder).iterdir())
    print(json.dumps(found))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
