"""Counting pieces and holes against skimage, and the memory of evaluating large maps."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import rasterio
import skimage
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter
from skimage import measure

from hyseg_cli.learn.scores.structure import betti_numbers

HERE = Path(__file__).parent
CLASSES = 7
SIZES = (5_000, 20_000)
BLOCK = 2_500


def class_map(side, seed=0):
    """Smooth regions of seven classes that fit onto their own other side."""
    rng = np.random.default_rng(seed)
    fields = [
        gaussian_filter(rng.normal(size=(side, side)).astype(np.float32), 8, mode="wrap")
        for _ in range(CLASSES)
    ]
    return np.argmax(fields, axis=0).astype(np.uint8)


def median_seconds(function, repetitions=5):
    """Median CPU time after one run that compiles and warms up."""
    function()
    times = []
    for _ in range(repetitions):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return statistics.median(times)


@pytest.mark.bench
def test_all_classes_at_once_are_faster_than_one_pass_for_each(capsys):
    raster = class_map(4_000)

    def one_by_one():
        pieces = [measure.label(raster == c, connectivity=2).max() for c in range(CLASSES)]
        euler = [measure.euler_number(raster == c, connectivity=2) for c in range(CLASSES)]
        return np.column_stack([pieces, np.subtract(pieces, euler)])

    def labelled_one_by_one():
        return [measure.label(raster == c, connectivity=2).max() for c in range(CLASSES)]

    np.testing.assert_array_equal(betti_numbers(raster, CLASSES), one_by_one())
    ours = median_seconds(lambda: betti_numbers(raster, CLASSES))
    theirs = median_seconds(one_by_one, 3)
    pieces_alone = median_seconds(labelled_one_by_one, 3)
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, numba {numba.__version__}, scikit-image "
            f"{skimage.__version__}; 4,000 x 4,000 pixels, {CLASSES} classes, one thread, medians "
            "of CPU time"
        )
        print(f"pieces and holes of all classes     {1e3 * ours:7.0f} ms")
        print(f"skimage label, class by class       {1e3 * pieces_alone:7.0f} ms")
        print(
            f"skimage label and euler_number      {1e3 * theirs:7.0f} ms, {theirs / ours:.1f} times"
        )
    assert theirs > 5 * ours


def write_map(path, pattern, size, shift):
    """The pattern side by side, moved down by some pixels, a strip in work at a time."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=1,
        dtype="uint8",
        crs="EPSG:32632",
        transform=from_origin(500_000, 5_400_000, 0.5, 0.5),
        nodata=255,
        tiled=True,
        compress="deflate",
        zlevel=1,
    ) as file:
        strip = np.tile(np.roll(pattern, shift, axis=0), (1, size // BLOCK))
        for row in range(0, size, BLOCK):
            file.write(strip, 1, window=Window(0, row, size, BLOCK))


def measure_command(*arguments):
    """Wall and CPU seconds and the largest resident set in MiB of `hyseg evaluate`."""
    started = time.perf_counter()
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "memory_of_evaluating.py", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return time.perf_counter() - started, *map(float, printed.split())


@pytest.mark.bench
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("flags", [[], ["--structure"]], ids=["pixels", "structure"])
def test_memory_does_not_grow_with_the_map(tmp_path, capsys, flags):
    pattern = class_map(BLOCK)
    legend = tmp_path / "legend.json"
    classes = [{"id": i, "name": f"c{i}", "color": f"#0000{i:02x}"} for i in range(CLASSES)]
    legend.write_text(json.dumps({"classes": classes}))
    with capsys.disabled():
        print(f"\nevaluate {' '.join(flags)}; GDAL {rasterio.__gdal_version__}, one process")
        print("  side   wall s    CPU s   peak MiB")
        for size in SIZES:
            path, truth = tmp_path / "map.tif", tmp_path / "truth.tif"
            write_map(path, pattern, size, 0)
            write_map(truth, pattern, size, 2)
            wall, cpu, peak = measure_command(
                path, "--reference", truth, "--legend", legend, *flags
            )
            print(f"{size:6d}  {wall:7.1f}  {cpu:7.1f}   {peak:8.0f}", flush=True)
    assert peak < 1024
