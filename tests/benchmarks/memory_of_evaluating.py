"""Run `hyseg evaluate` with the arguments given and print CPU time and peak memory.

The peak is that of this program: what a process used before it became this one, as `ru_maxrss`
counts it, is not part of `VmHWM`.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import time
from pathlib import Path

from hyseg_cli.cli.group import cli

if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        cli(["evaluate", *sys.argv[1:], "-q"], standalone_mode=False)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(time.process_time(), int(peak[1]) / 1024)
