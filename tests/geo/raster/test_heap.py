import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from hyseg_cli.geo.raster.gdal import trim_heap


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc alone can be asked"
)
def test_freed_memory_between_used_pieces_goes_back():
    # Below the size from which glibc gives every piece a mapping of its own.
    pieces = [np.ones(100_000, np.uint8) for _ in range(1000)]
    kept = pieces[::20]
    del pieces
    before = resident_mib()
    assert trim_heap()
    assert before - resident_mib() > 30
    assert all(piece.all() for piece in kept)
