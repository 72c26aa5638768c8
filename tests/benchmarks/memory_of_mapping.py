"""Map the scene named on the command line with a fake network and print memory and time."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import list_jobs
from hyseg_cli.workflows.predict.mapper import Mapper
from hyseg_cli.workflows.predict.mapping import merge


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
    scene, model = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        settings = PredictSettings(
            inputs=(scene,), out=Path(folder) / "map.tif", model=model, device="cpu"
        )
        mapper = replace(Mapper.load(settings), classify=BandsAsProbabilities())
        base = peak_mib()
        started, cpu = time.perf_counter(), time.process_time()
        plan = mapper.planner.plan(list_jobs(settings)[0])
        work = WorkFolder(plan.out)
        with work.locked():
            mapper.map_blocks(plan, work, plan.blocks, lambda _: None)
            merge(plan, work)
    print(base, peak_mib(), time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    main()
