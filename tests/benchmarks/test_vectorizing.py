"""`hyseg vectorize` against the usual chain and against GDAL's own polygonizer.

Rasters are made from real ones by `../shared/bench`; the whole table takes half an hour, most of it
in the chain.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numba
import pyogrio
import pytest
import rasterio
import shapely

HERE = Path(__file__).parent
VECTORIZERS = HERE / "vectorizers.py"
PYTHON = os.environ.get("HYSEG_BENCH_PYTHON", sys.executable)
"""Another interpreter to measure with: that of an installation without development tools, say.
rasterio loads boto3 wherever it finds it, an eighth of a second that users do not wait for."""
WORLDCOVER = "labels_worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"

RUNS = {
    "c4000": {"hyseg": 9, "gdal": 9, "chain": 3},
    "s4000": {"hyseg": 5, "gdal": 5, "chain": 3},
    "c10000": {"hyseg": 3, "gdal": 3, "chain": 1},
    "s10000": {"hyseg": 3, "gdal": 1, "chain": 1},
    "worldcover": {"hyseg": 3, "gdal": 1},
    "mosaic 20000": {"hyseg": 1},
    "mosaic 50000": {"hyseg": 1},
}
"""How often each method is run on each raster."""


def command(method, raster, out):
    """A program from its start to its end, as users run it."""
    if method != "hyseg":
        return [PYTHON, "-W", "ignore", VECTORIZERS, method, raster, out]
    options = ["--smooth", "--simplify", "1.5px", "-q"]
    return [PYTHON, "-m", "hyseg_cli", "vectorize", raster, "--out", out, *options]


def measure(method, raster, out):
    """Wall and CPU seconds of a process of its own and its children."""
    out.unlink(missing_ok=True)
    before, started = cpu_of_children(), time.perf_counter()
    subprocess.run(command(method, raster, out), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started, cpu_of_children() - before


def peak_mib(method, raster, out):
    """The most memory that a run takes; another one, for looking at memory takes time."""
    out.unlink(missing_ok=True)
    peak = 0.0
    with subprocess.Popen(command(method, raster, out), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory_mib(process.pid))
            time.sleep(0.05)
    assert process.returncode == 0
    return peak


def cpu_of_children():
    """CPU seconds of the processes that this one, and they, have waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def memory_mib(pid):
    """Memory of a process and its children now; what several share counts once."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        maps = Path(f"/proc/{pid}/smaps_rollup").read_text()
        below = children.read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0.0
    own = re.search(r"^Pss:\s+(\d+) kB", maps, re.MULTILINE)
    return (int(own[1]) / 1024 if own else 0.0) + sum(memory_mib(child) for child in below)


def mosaic(source, size, folder):
    """A virtual raster of size x size pixels that repeats a square one."""
    with rasterio.open(source) as file:
        side, crs, transform, nodata = file.width, file.crs, file.transform, file.nodata
    tiles = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename>'
        f'<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
        f'<DstRect xOff="{col}" yOff="{row}" xSize="{side}" ySize="{side}"/></SimpleSource>'
        for row in range(0, size, side)
        for col in range(0, size, side)
    )
    t = transform
    path = folder / f"mosaic{size}.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>{crs.to_string()}</SRS>'
        f"<GeoTransform>{t.c},{t.a},{t.b},{t.f},{t.d},{t.e}</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"><NoDataValue>{nodata}</NoDataValue>'
        f"{tiles}</VRTRasterBand></VRTDataset>"
    )
    return path


def medians(repetitions, raster, out):
    """Wall and CPU seconds and peak memory by method; they take turns, for machines have moods."""
    runs = {method: [] for method in repetitions}
    for turn in range(max(repetitions.values())):
        for method, count in repetitions.items():
            if turn < count:
                runs[method].append(measure(method, raster, out))
    return {
        method: (
            *(statistics.median(column) for column in zip(*measured, strict=True)),
            peak_mib(method, raster, out),
        )
        for method, measured in runs.items()
    }


@pytest.fixture
def raster(shared, tmp_path):
    script = shared.parent / "bench" / "make_class_rasters.py"
    subprocess.run([sys.executable, script, tmp_path, "4000", "10000"], check=True)
    places = {"worldcover": shared / WORLDCOVER}
    for size in (20000, 50000):
        places[f"mosaic {size}"] = mosaic(tmp_path / "c10000.tif", size, tmp_path)
    return lambda name: places.get(name, tmp_path / f"{name}.tif")


@pytest.mark.bench
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_it_is_faster_and_smaller_than_the_usual_chain(raster, tmp_path, capsys):
    with capsys.disabled():
        print(
            f"\nPython {platform.python_version()}, numba {numba.__version__}, "
            f"shapely {shapely.__version__}, pyogrio {pyogrio.__version__}, "
            f"GDAL {rasterio.__gdal_version__} (polygonize), {os.cpu_count()} cores; GeoPackage; "
            "hyseg: --smooth --simplify 1.5px and the check; chain: coverage_simplify 1.5 px; "
            "medians"
        )
        print("raster         method    wall s    CPU s   peak MiB   hyseg: times faster, memory")
        ours, memory, out = {}, {}, tmp_path / "out.gpkg"
        for name, repetitions in RUNS.items():
            for method, (wall, cpu, peak) in medians(repetitions, raster(name), out).items():
                line = f"{name:14} {method:8} {wall:7.2f}  {cpu:7.2f}   {peak:8.0f}"
                if method == "hyseg":
                    ours[name] = wall, cpu, peak
                else:
                    own = ours[name]
                    memory[name, method] = own[2] / peak
                    line += f"   {wall / own[0]:5.2f} x (CPU {cpu / own[1]:.2f} x), "
                    line += f"{own[2] / peak:.2f}"
                print(line, flush=True)
    # Memory is counted, not timed: it may be asserted.
    assert memory["s4000", "chain"] < 0.4
    assert memory["s10000", "chain"] < 1 / 8
    assert ours["worldcover"][2] < 800
    assert ours["mosaic 50000"][2] < 2048
