"""The process that writes layers: Arrow streams on stdin, one line of JSON on stdout for each.

It reads one stream after the other until stdin ends. The schema of a stream describes its layer.
The answer names what went wrong, if anything did; the process then ends, because the rest of the
stream is useless.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from typing import Any, BinaryIO

import pyarrow as pa

from hyseg_cli.startup import spare


def _import_pyogrio() -> Any:
    """Load GDAL now, while the process that sends the records is busy with other things."""
    spare("pandas", "geopandas", "shapely", "pyproj", "certifi")
    import pyogrio

    return pyogrio


def write_all(source: BinaryIO, replies: BinaryIO) -> None:
    """Write the incoming layers and answer each, until one fails or the stream ends."""
    pyogrio = _import_pyogrio()
    from hyseg_cli.geo.vector.layers import write_layer

    errors = pyogrio.errors
    writing_errors = (OSError, errors.DataSourceError, errors.DataLayerError)
    stream = pa.input_stream(source)
    while source.peek(1):  # type: ignore[attr-defined] # stdin is buffered
        answer: dict[str, Any] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                write_layer(pa.ipc.open_stream(stream))
            except writing_errors as error:
                answer["failure"] = " ".join(str(error).split())
            except Exception as error:  # noqa: BLE001 - sent to the process that can report it
                answer["defect"] = f"{type(error).__name__}: {error}"
                answer["traceback"] = traceback.format_exc()
        answer["warnings"] = [str(warning.message) for warning in caught]
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()
        if len(answer) > 1:
            return


def main() -> None:
    """Serve the process that has started this one."""
    try:
        write_all(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The parent process is gone, so nobody waits for an answer.
        sys.exit(1)
