"""Map a scene with a network that costs next to nothing, in one of several ways.

    mappers.py WAY SCENE OUT MODEL

Prints wall seconds, CPU seconds and the peak of memory above that after the imports, in MiB. All
ways see tiles of 512 pixels that overlap by 128, and write a class raster.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch

TILE, STEP = 512, 384
BATCH = 8


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def probabilities(image: torch.Tensor) -> torch.Tensor:
    """Each band is the probability of a class."""
    return image


def write(classes: np.ndarray, scene: Path, out: Path) -> None:
    with rasterio.open(scene) as file:
        profile = {"crs": file.crs, "transform": file.transform}
    with rasterio.open(
        out, "w", driver="GTiff", dtype="uint8", count=1, height=classes.shape[0],
        width=classes.shape[1], tiled=True, blockxsize=512, blockysize=512, compress="zstd",
        zstd_level=1, **profile,
    ) as file:  # fmt: skip
        file.write(classes, 1)


def read_all(scene: Path) -> torch.Tensor:
    with rasterio.open(scene) as file:
        return torch.from_numpy(file.read()).float()[None]


def classes_of(sums: torch.Tensor) -> np.ndarray:
    # max, not argmax: the peers get the faster one, too.
    return sums.max(dim=0).indices.to(torch.uint8).numpy()


def map_with_monai() -> Any:
    from monai.inferers import sliding_window_inference

    def run(scene: Path, out: Path, _: Path) -> None:
        found = sliding_window_inference(
            read_all(scene), TILE, BATCH, probabilities, overlap=1 - STEP / TILE, mode="constant"
        )
        write(classes_of(found[0]), scene, out)

    return run


def map_with_torchgeo() -> Any:
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler, Units

    def run(scene: Path, out: Path, _: Path) -> None:
        with rasterio.open(scene) as file:
            height, width, transform = file.height, file.width, file.transform
        dataset = RasterDataset(str(scene))
        sampler = GridGeoSampler(dataset, size=TILE, stride=STEP, units=Units.PIXELS)
        ramp = torch.hann_window(TILE + 2, periodic=False)[1:-1]
        weight = ramp[:, None] * ramp
        sums = torch.zeros(3, height, width)
        for batch in DataLoader(
            dataset, batch_size=BATCH, sampler=sampler, collate_fn=stack_samples
        ):
            for tile, place in zip(probabilities(batch["image"]), batch["bounds"], strict=True):
                x, y = place[0].start, place[1].stop
                col, row = (round(value) for value in ~transform @ (x, y))
                rows = slice(max(row, 0), min(row + TILE, height))
                cols = slice(max(col, 0), min(col + TILE, width))
                inside = (
                    slice(rows.start - row, rows.stop - row),
                    slice(cols.start - col, cols.stop - col),
                )
                sums[:, rows, cols].addcmul_(tile[:, *inside], weight[inside])
        write(classes_of(sums), scene, out)

    return run


def map_with_patchly() -> Any:
    from patchly import Aggregator, GridSampler

    def run(scene: Path, out: Path, _: Path) -> None:
        with rasterio.open(scene) as file:
            pixels = file.read()
        size = pixels.shape[1:]
        sampler = GridSampler(
            image=pixels, spatial_size=size, patch_size=(TILE, TILE), step_size=(STEP, STEP),
            chunk_size=(4 * TILE, 4 * TILE), spatial_first=False,
        )  # fmt: skip
        classes = np.zeros(size, np.uint8)
        gathered = Aggregator(
            sampler=sampler, output=classes, weights="gaussian", spatial_first=False, softmax_dim=0
        )
        for tile, place in sampler:
            found = probabilities(torch.from_numpy(tile.astype(np.float32)))
            gathered.append(found.numpy(), place)
        write(np.asarray(gathered.get_output()).astype(np.uint8), scene, out)

    return run


def map_with_hyseg(*, whole: bool) -> Any:
    from dataclasses import replace

    from hyseg_cli.geo.output.work_folder import WorkFolder
    from hyseg_cli.settings.predict import PredictSettings
    from hyseg_cli.workflows.predict.jobs import list_jobs
    from hyseg_cli.workflows.predict.mapper import Mapper
    from hyseg_cli.workflows.predict.mapping import merge

    class Fake:
        classes = 3
        device = torch.device("cpu")

        def __call__(self, image: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return probabilities(image.float())

    settings = PredictSettings(
        inputs=(sys.argv[2],), out=Path(sys.argv[3]), model=Path(sys.argv[4]), device="cpu",
        batch_size=BATCH,
    )  # fmt: skip
    # The model belongs to what the others leave out; only its card is used.
    mapper = replace(Mapper.load(settings), classify=Fake())

    def run(*_: Path) -> None:
        plan = mapper.planner.plan(list_jobs(settings)[0])
        work = WorkFolder(plan.out)
        with work.locked():
            mapper.map_blocks(plan, work, plan.blocks, lambda _: None)
            if whole:
                merge(plan, work)
        work.remove()

    return run


WAYS = {
    "monai": map_with_monai,
    "torchgeo": map_with_torchgeo,
    "patchly": map_with_patchly,
    "hyseg, shards": lambda: map_with_hyseg(whole=False),
    "hyseg, COG": lambda: map_with_hyseg(whole=True),
}


def main() -> None:
    torch.set_num_threads(1)
    run = WAYS[sys.argv[1]]()
    base = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    run(*map(Path, sys.argv[2:5]))
    print(time.perf_counter() - wall, time.process_time() - cpu, peak_mib() - base)


if __name__ == "__main__":
    main()
