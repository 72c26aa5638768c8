"""What loading the kernels does to the process."""

import subprocess
import sys

import pytest


def run(program, folder=None):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize(("loaded", "spared"), [("sys", "scipy"), ("scipy", "scipy.linalg")])
def test_kernels_run_without_loading_scipy(loaded, spared):
    done = run(f"""
import sys
import {loaded}
import numpy as np
from hyseg_cli.geo.arcs.regions import number_sets
assert number_sets(np.array([0, 1, 1, 3], np.int32), np.zeros(4, np.int32)) == 2
assert "{spared}" not in sys.modules
""")
    assert done.returncode == 0, done.stderr


def test_a_process_that_gets_ready_loads_nothing_that_its_kernels_do_not_use():
    done = run("""
import sys
from hyseg_cli.geo.arcs.kernels import get_ready
get_ready()
spared = {"cffi", "pycparser", "scipy", "yaml"}
assert not spared & set(sys.modules), spared & set(sys.modules)
import cffi, scipy.linalg, yaml
""")
    assert done.returncode == 0, done.stderr


def test_settings_of_numba_in_a_file_are_honoured(tmp_path):
    (tmp_path / ".numba_config.yaml").write_text("num_threads: 1\n")
    done = run(
        "from hyseg_cli.geo.arcs import kernels; from numba import config; "
        "assert config.NUMBA_NUM_THREADS == 1",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_rehearsal_loads_all_kernels_that_tracing_takes():
    done = run("""
import numpy as np
from pathlib import Path
from numba.core.caching import FunctionCache
from hyseg_cli.geo.arcs.rehearsal import rehearse

rehearse(smooth=True, simplify=True, check=True)
FunctionCache.load_overload = None  # what is called now is there, or fails

from hyseg_cli.geo.arcs.classes import ArrayRows, seams
from hyseg_cli.geo.arcs.polygons import Generalisation, trace_polygons
from hyseg_cli.geo.arcs.proof import Proof
from hyseg_cli.geo.arcs.regions import find_regions
from hyseg_cli.geo.arcs.wkb import to_wkb

classes = np.random.default_rng(0).integers(0, 3, (600, 50)).astype(np.uint8)
source = ArrayRows(classes, no_class=0)
found = find_regions(source, np.ones(600), Path())
proof = Proof(seams(600))
for batch in trace_polygons(source, found, Generalisation(True, 1.5), proof):
    to_wkb(batch.points, batch.ring_offsets, batch.polygon_offsets, reverse=True)
assert not proof.problems(len(found), None)
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("loaded", ["sys", "scipy"])
def test_others_can_still_compile_products_of_matrices(loaded):
    done = run(f"""
import {loaded}
import numba
import numpy as np
from hyseg_cli.geo.arcs import kernels

@numba.njit
def products(a, b):
    return np.dot(a, b), np.convolve(a[0], b[0])

a, b = np.random.default_rng(0).random((2, 3, 3))
dot, convolution = products(a, b)
np.testing.assert_allclose(dot, a @ b)
np.testing.assert_allclose(convolution, np.convolve(a[0], b[0]))
""")
    assert done.returncode == 0, done.stderr
