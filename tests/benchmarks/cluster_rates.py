"""WHAT WORKERS TASKS: seconds between tasks of workers of the Ray cluster at RAY_ADDRESS.

WHAT is `naps` (a second each) or `tiles` (one of 512 pixels through the built-in model).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from hyseg_cli.cluster.ray_pool import RayPool
from hyseg_cli.cluster.scheduler import Scheduler


@dataclass(frozen=True)
class One:
    size: int = 1


@dataclass(frozen=True)
class Naps:
    def prepare(self, _):
        return lambda *_: time.sleep(1.0)


@dataclass(frozen=True)
class Tiles:
    def prepare(self, _):
        import torch

        from hyseg_cli.learn.inference.predictor import Predictor
        from hyseg_cli.learn.model.locate import find_model
        from hyseg_cli.learn.model.weights import load_model

        predict = Predictor(load_model(find_model(None)), torch.device("cpu"))
        image = torch.zeros(1, 3, 512, 512, dtype=torch.uint8)
        valid = torch.ones(1, 1, 512, 512, dtype=torch.bool)
        origin = torch.zeros(1, 2, dtype=torch.int64)
        return lambda *_: predict(image, valid, origin)


def main() -> None:
    setup = {"naps": Naps, "tiles": Tiles}[sys.argv[1]]()
    workers, tasks = map(int, sys.argv[2:])
    ends = []
    with RayPool("ray", setup) as pool:
        shared = Scheduler(
            pool, workers=workers, rest=lambda task: task, advance=lambda *_: None, warn=print
        )
        for _, error in shared.run(iter([One()] * tasks)):
            if error is not None:
                raise error
            ends.append(time.perf_counter())
    # Workers start one after the other: until each of them has done two tasks nothing counts.
    steady = ends[2 * workers - 1 :]
    print((steady[-1] - steady[0]) / (len(steady) - 1))


if __name__ == "__main__":
    main()
