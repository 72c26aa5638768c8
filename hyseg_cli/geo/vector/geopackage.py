"""A layer of a GeoPackage that holds others: it alone is replaced, in a copy of the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hyseg_cli.errors import HysegError, UsageProblemError

STYLES = "layer_styles"
"""The table in which QGIS looks for styles."""


def other_tables(path: Path, layer: str) -> tuple[str, ...]:
    """What a file holds beside a layer: other layers, tables, rasters; styles do not count.

    Nothing if it is missing or not a GeoPackage.

    Raises:
        UsageProblemError: If a layer's name differs from the one in question in its case only,
            which is one name to SQLite and two to everybody else.
    """
    if path.suffix.lower() != ".gpkg" or not path.is_file():
        return ()
    try:
        with closing(sqlite3.connect(path)) as database:
            found = [name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")]
    except sqlite3.Error:
        return ()
    for name in found:
        if name != layer and name.lower() == layer.lower():
            raise UsageProblemError(
                f"{path} has a layer {name}, which a GeoPackage cannot tell from {layer}",
                hint=f"Use `layer` {name}, or another name.",
            )
    return tuple(sorted(name for name in found if name not in (layer, STYLES)))


def copy_other_layers(path: Path, copy: Path, layer: str) -> None:
    """Copy a GeoPackage that holds more than a layer, for that layer to be written into the copy.

    What programs have written to it and not yet put in order (its write-ahead log) is copied, too.
    Where there is nothing else in the file there is no copy.

    Raises:
        HysegError: If it cannot be copied.
    """
    if not other_tables(path, layer):
        return
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            # The layer goes when it is written anew; its style would stay.
            if target.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (STYLES,)).fetchone():
                target.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
            target.commit()
            # The log goes before the file is replaced: until then the file has to be whole alone.
            source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise HysegError(
            f"{path}: its other layers cannot be kept ({error})",
            hint="Another program may have the file open, or the space is not free: both copies "
            "need some. Or use another `out`.",
        ) from error
