"""Map the scene named on the command line with a fake network and print memory and time."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import make_scene
import torch

from hyseg_cli.console import Silence
from hyseg_cli.geo.scene import open_scene
from hyseg_cli.legend import Legend
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.predict import write_map


class BandsAsProbabilities:
    """Each band is the probability of a class: nothing but the pipeline costs anything."""

    classes = 5
    device = torch.device("cpu")

    def __call__(
        self, image: torch.Tensor, _valid: torch.Tensor, _origin: torch.Tensor
    ) -> torch.Tensor:
        return image[:, [0, 1, 2, 0, 1]].float()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    torch.set_num_threads(1)
    scene = open_scene(sys.argv[1])
    base = peak_mib()
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        write_map(
            scene,
            (1, 2, 3),
            BandsAsProbabilities(),
            Legend.from_dict(make_scene.LEGEND),
            PredictSettings(scene=sys.argv[1], out=Path(folder) / "map.tif"),
            {},
            Silence(),
        )
    print(base, peak_mib(), time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    main()
