"""JPEG and PNG pictures as arrays, without GDAL: training on pairs of them needs nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hyseg_cli.errors import HysegError, UnusableFileError, UsageProblemError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

_LIMIT_IN_USE = threading.Lock()


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width, read from the header alone."""
    with _open(path) as picture:
        width, height = picture.size
    return height, width


def is_deep(path: Path) -> bool:
    """Whether a picture is a PNG of 16 bits; Pillow gives its colours as 8, GDAL reads all.

    Source: the header chunk of the PNG specification, whose ninth byte is the bit depth.
    """
    if path.suffix.lower() != ".png" or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(25)
    return start[12:16] == b"IHDR" and start[24:25] == b"\x10"


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """The colours of a picture as uint8 (bands, height, width); palettes become colours."""
    with _open(path) as picture:
        try:
            pixels = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
        except OSError as error:
            raise _damaged(path, error) from error
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise HysegError(
            f"{path}: {pixels.dtype} pictures are not read", hint="Convert it to an 8-bit GeoTIFF."
        )
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _open(path: Path) -> Image.Image:
    try:
        with _any_size():
            return Image.open(path)
    except FileNotFoundError as error:
        raise UsageProblemError(f"{path}: no such file", hint="Check the path.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise _damaged(path, error) from error


@contextmanager
def _any_size() -> Iterator[None]:
    """Open pictures of any size: a scan of a whole country is not a decompression bomb.

    Pillow has one limit for the whole process, and others rely on it.
    """
    with _LIMIT_IN_USE:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _damaged(path: Path, error: Exception) -> UnusableFileError:
    return UnusableFileError(
        f"{path}: cannot be read as a picture ({error})", hint="The file may be damaged."
    )
