"""The process that writes layers: what it writes, what it tells, and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyogrio
import pytest
import shapely

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.vector.layers import Layer
from hyseg_cli.geo.vector.writer import LayerWriter

SCHEMA = pa.schema([("geometry", pa.binary()), ("class_id", pa.int32())])


def layer(path, **changes):
    values = {"name": "areas", "geometry_type": "Polygon", "wkt": "EPSG:32632"}
    return Layer(file=str(path), **{**values, **changes})


def squares(count, *, each=1):
    """Records of `each` squares, as many as asked for."""
    for number in range(count):
        first = number * each
        shapes = [shapely.box(i, 0, i + 1, 1) for i in range(first, first + each)]
        ids = list(range(first, first + each))
        yield pa.record_batch([[shapely.to_wkb(s) for s in shapes], ids], schema=SCHEMA)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(writer):
    return writer._process.pid


def test_several_layers_come_out_as_they_went_in(tmp_path):
    with LayerWriter() as writer:
        for number in (1, 2, 3):
            writer.write(squares(number, each=5), SCHEMA, layer(tmp_path / f"{number}.gpkg"))
    for number in (1, 2, 3):
        info, _, geometry, (ids,) = pyogrio.raw.read(tmp_path / f"{number}.gpkg")
        assert info["crs"] == "EPSG:32632"
        assert ids.tolist() == list(range(5 * number))
        expected = [s for batch in squares(number, each=5) for s in batch["geometry"].to_pylist()]
        assert geometry.tolist() == expected


def test_nothing_is_left_of_the_process(tmp_path):
    with LayerWriter() as writer:
        writer.write(squares(1), SCHEMA, layer(tmp_path / "a.fgb"))
    assert not is_running(pid_of(writer))


def test_an_error_of_the_records_comes_as_it_is_and_ends_the_process(tmp_path):
    def interrupted():
        yield from squares(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LayerWriter() as writer:
        writer.write(interrupted(), SCHEMA, layer(tmp_path / "a.gpkg"))
    assert not is_running(pid_of(writer))


def test_a_closed_pipe_elsewhere_is_not_taken_for_the_writers(tmp_path):
    def unheard():
        yield from squares(2)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), LayerWriter() as writer:
        writer.write(unheard(), SCHEMA, layer(tmp_path / "a.gpkg"))


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".geojson", ".shp"])
def test_what_the_system_refuses_is_told(tmp_path, suffix):
    with (
        pytest.raises(HysegError, match=f"areas{suffix}: the layer cannot be written .*"),
        LayerWriter() as writer,
    ):
        writer.write(boxed(100), BOXED, layer(tmp_path / "missing" / f"areas{suffix}"))


BOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
BOXED = SCHEMA.append(pa.field("bbox", BOX))


def boxed(count):
    """Records as GeoParquet has them; the other formats would not take the box."""
    for batch in squares(count):
        box = pa.array([{side.name: 0.0 for side in BOX}], BOX)
        yield pa.record_batch([*batch.columns, box], schema=BOXED)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prlimit is Linux's")
@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".geojsonl"])
def test_a_disk_that_fills_up_is_told_while_records_are_still_coming(tmp_path, suffix):
    made = 0

    def endless():
        nonlocal made
        for batch in boxed(200) if suffix == ".parquet" else squares(200, each=500):
            made += 1
            yield batch

    with LayerWriter() as writer:
        # A file that may not grow is what a full disk looks like from inside.
        resource.prlimit(pid_of(writer), resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(HysegError, match="cannot be written"):
            writer.write(
                endless(),
                BOXED if suffix == ".parquet" else SCHEMA,
                layer(tmp_path / f"a{suffix}"),
            )
    assert made > 0


def test_a_process_that_is_killed_is_told(tmp_path):
    def deadly(writer):
        yield from squares(1)
        os.kill(pid_of(writer), signal.SIGKILL)
        yield from squares(1000, each=100)

    with (
        pytest.raises(HysegError, match="the process that writes them ended with -9"),
        LayerWriter() as writer,
    ):
        writer.write(deadly(writer), SCHEMA, layer(tmp_path / "a.gpkg"))


def test_a_defect_of_the_process_is_one_of_ours(tmp_path):
    with pytest.raises(RuntimeError, match="KeyError") as caught, LayerWriter() as writer:
        writer.write(squares(1), SCHEMA, layer(tmp_path / "a.unknown"))
    assert "Traceback" in caught.value.__notes__[0]


def test_a_warning_reaches_whoever_asked(tmp_path):
    # No part of a polygon layer: GDAL warns and goes on.
    point = pa.record_batch([[shapely.to_wkb(shapely.Point(0, 0))], [1]], schema=SCHEMA)
    with pytest.warns(RuntimeWarning, match="geometry"), LayerWriter() as writer:
        writer.write(iter([point]), SCHEMA, layer(tmp_path / "a.gpkg"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_it_ends_when_the_process_that_started_it_is_killed():
    program = (
        "import os, signal\n"
        "from hyseg_cli.geo.vector.writer import LayerWriter\n"
        "writer = LayerWriter()\n"
        "print(writer._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    pid = int(killed.stdout)
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_it_loads_no_library_that_it_has_no_use_for():
    program = (
        "import io, sys\n"
        "from hyseg_cli.geo.vector.writer_process import write_all\n"
        "write_all(io.BufferedReader(io.BytesIO()), io.BytesIO())\n"
        "print(*(name for name, module in sys.modules.items() if module))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    ).stdout.split()
    assert "pyogrio" in loaded
    assert not {"pandas", "geopandas", "shapely", "pyproj", "numba", "rasterio"} & set(loaded)
