"""GDAL's settings while rasters are read or written, and what it says when it cannot read them.

GDAL's answer to a missing tile of a mosaic depends on the driver: some fail, some log it and go on
with nodata, which nobody could tell from an empty place.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import rasterio
from rasterio._err import CPLE_BaseError  # some of GDAL's errors are raised bare
from rasterio.errors import RasterioError

from hyseg_cli.errors import UnusableFileError

MIB = 2**20
DAMAGED = "The file is damaged or cut short: fetch or write it again."
NO_FILE = "No such file"
"""What GDAL says of a file that is not there."""
MISSING = "A part of it is missing or cannot be opened: bring it back, or make the mosaic without."
READ_ERRORS = (RasterioError, CPLE_BaseError)
_OPEN_FAILED = 4
"""GDAL's number for a file that cannot be opened."""


def gdal_env(cache_mib: int, **options: str) -> rasterio.Env:
    """GDAL with a block cache of some size; its own default is 5 % of the machine's memory.

    Args:
        cache_mib: The size in MiB. rasterio takes bytes here, unlike GDAL, and a cache of 64 bytes
            keeps nothing.
        options: Other options of GDAL.
    """
    return rasterio.Env(GDAL_CACHEMAX=cache_mib * MIB, **options)


def trim_heap() -> bool:
    """Return freed memory to the system; say whether there was any, False if unsupported.

    Readers, writers and networks allocate and free large arrays of different sizes in several
    threads. glibc keeps the gaps between them, and over many strips these grow larger than all the
    memory in use.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return trim is not None and bool(trim(0))


@contextmanager
def naming_the_cause(what: str, *, hint: str = DAMAGED) -> Iterator[None]:
    """Read pixels in the block; whatever of a raster cannot be read is an error.

    Args:
        what: What is read and cannot be, such as `a.tif: rows 0 to 9 cannot be read`.
        hint: What helps if the cause is not a missing part.

    Raises:
        UnusableFileError: If something cannot be read, or is missing where GDAL goes on.
    """
    try:
        with _listener().listening() as missing:
            yield
    except READ_ERRORS as error:
        cause = cause_of(error)
        is_missing = NO_FILE in cause
        raise UnusableFileError(
            f"{what} ({cause})", hint=MISSING if is_missing else hint
        ) from error
    if missing:
        raise UnusableFileError(f"{what} ({missing[0]})", hint=MISSING)


@contextmanager
def reading_header(name: str) -> Iterator[None]:
    """Ask for facts of a raster in the block; some are read from the file only then.

    Raises:
        UnusableFileError: If the file is damaged where they stand.
    """
    try:
        yield
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise UnusableFileError(
            f"{name}: its header cannot be read ({cause_of(error)})", hint=DAMAGED
        ) from error


def cause_of(error: BaseException) -> str:
    """The message of what an error of rasterio goes back to, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = getattr(error, "errmsg", None) or str(error)
    return " ".join(str(text).split())


class _Listener(logging.Filter):
    """Keeps what GDAL says it could not open, for the thread that was reading."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(self._heard, "texts", None)
        arguments = record.args if isinstance(record.args, tuple) else ()
        if heard is not None and len(arguments) == 2 and arguments[0] == _OPEN_FAILED:
            heard.append(" ".join(str(arguments[1]).split()))
        return record.levelno >= logging.WARNING

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """What is heard while the block runs."""
        before = getattr(self._heard, "texts", None)
        texts: list[str] = []
        self._heard.texts = texts
        try:
            yield texts
        finally:
            self._heard.texts = before


@cache
def _listener() -> _Listener:
    found, log = _Listener(), logging.getLogger("rasterio._err")
    log.setLevel(logging.INFO)
    log.addFilter(found)
    return found
