"""Layers written by a separate process.

GDAL's Python bindings hold the interpreter's lock while they write, and take as long to load as
a small map takes to trace. A second process does both during the work instead of after it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from hyseg_cli.errors import HysegError

if TYPE_CHECKING:
    import pyarrow as pa

    from hyseg_cli.geo.vector.layers import Layer

# The other process must find the same modules, and nothing in the working directory.
_START = """
import sys
sys.path[:] = sys.argv[1:]
from hyseg_cli.geo.vector.writer_process import main
main()
"""


class LayerWriter:
    """Writes layers, one after the other; the process is started at once, and ends with the block.

    It runs in a session of its own, so that Ctrl-C reaches only the process that can inform the
    user. If that one is killed, the pipe ends, and with it the writer.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - arguments of our own
            [sys.executable, "-P", "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Killed, not asked to stop: after an error or Ctrl-C it would still write a useless layer.
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what is still in the buffer has nowhere to go
            self._records.close()
        self._replies.close()

    @property
    def _records(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def _replies(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    def write(self, records: Iterator[pa.RecordBatch], schema: pa.Schema, layer: Layer) -> None:
        """Write a layer; returns when its file is complete.

        Args:
            records: The features, geometry as WKB in the column `geometry`.
            schema: Their columns.
            layer: Where they go.

        Raises:
            HysegError: If the file cannot be written.
        """
        is_sent = self._send(records, layer.describe(schema))
        self._require_success(Path(layer.file).name, is_sent=is_sent)

    def dismiss(self) -> None:
        """Announce that no layer follows, so that the process can end during the remaining work."""
        self._process.kill()

    def _send(self, records: Iterator[pa.RecordBatch], schema: pa.Schema) -> bool:
        """Send a stream of records; False if the process has stopped listening."""
        import pyarrow as pa

        try:
            with _telling_end():
                stream = pa.ipc.new_stream(self._records, schema)
                self._records.flush()  # the file is created while its first records are made
            for record in records:
                with _telling_end():
                    stream.write_batch(record)
            with _telling_end():
                stream.close()
                self._records.flush()
        except _EndedError:
            return False
        return True

    def _require_success(self, name: str, *, is_sent: bool) -> None:
        line = self._replies.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        for text in answer.get("warnings", ()):
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        if "defect" in answer:
            error = RuntimeError(answer["defect"])
            error.add_note(answer["traceback"])
            raise error
        if "failure" in answer:
            raise HysegError(
                f"{name}: the layer cannot be written ({answer['failure']})",
                hint="Check the folder's permissions and the free space.",
            )
        if not line or not is_sent:
            raise HysegError(
                f"{name}: the layer cannot be written (the process that writes them ended "
                f"with {self._process.wait()})",
                hint="It may have been stopped, or memory was short: see what the system says.",
            )


class _EndedError(Exception):
    """The process has closed its end of the pipe; its answer, if any, says why."""


@contextmanager
def _telling_end() -> Iterator[None]:
    """Distinguish a closed pipe from errors while the records are made."""
    try:
        yield
    except OSError as error:
        raise _EndedError from error
