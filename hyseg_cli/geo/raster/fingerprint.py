"""Is this still the same input? What is cheap to ask of files of any size."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hyseg_cli.geo.raster.raster import open_dataset

SMALL = 2**20
"""Bytes up to which the content itself is compared."""


def fingerprint_of_raster(path: str) -> list[str]:
    """What tells a raster apart from another or a changed one.

    Returns:
        The fingerprints of all its files: side-cars, and the sources of a VRT.
    """
    return [fingerprint(name) for name in files_of_raster(path)]


def files_of_raster(path: str) -> list[str]:
    """All files of a raster, sorted by name: itself, side-cars, and the sources of a VRT."""
    with open_dataset(path) as dataset:
        return sorted({path, *dataset.files})


def fingerprint(path: str) -> str:
    """The name of a file and its hash, or its size and the time of its last change.

    Of a member of an archive the archive counts, too. What is not on this machine is told by its
    address alone.
    """
    stored = Path(path)
    if path.startswith("/vsi"):
        inner = [Path(root, *Path(path).parts[2:]) for root in ("/", "")]
        places = [place for start in inner for place in (start, *start.parents)]
        stored = next((place for place in places if place.is_file()), stored)
    if not stored.is_file():
        return path
    return _line(stored) if str(stored) == path else f"{path} in {_line(stored)}"


def _line(path: Path) -> str:
    status = path.stat()
    # A VRT is written anew with the same text.
    if status.st_size <= SMALL or path.suffix.lower() == ".vrt":
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return f"{path.name} {status.st_size} bytes {status.st_mtime_ns}"
