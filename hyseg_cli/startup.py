"""What comes before the work: an environment in order, and modules loaded without detours.

Three shortcuts live here, each with the time it was measured to save (Python 3.11, two cores);
`HYSEG_SHORTCUTS=off` does without all of them. The program itself asks for them: importing the
package runs none.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SWITCH = "HYSEG_SHORTCUTS"
"""Environment variable; "off" starts and ends without shortcuts."""


def _are_wanted() -> bool:
    return os.environ.get(SWITCH) != "off"


@contextmanager
def loading() -> Iterator[None]:
    """A block of imports and other loading of permanent objects: 0.3 s of the 4.3 s of PyTorch.

    Modules are permanent, yet Python's collector would scan their functions and classes dozens of
    times while they load.
    """
    was_collecting = gc.isenabled() and _are_wanted()
    if was_collecting:
        gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            # Together these age all objects at once; young objects would be scanned again.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


@contextmanager
def leaving_fast() -> Iterator[None]:
    """The last block of a program: 0.25 s of the 1.3 s that polygons of a small map take.

    Python would search all objects for circles before it exits, and find what lives until the end.
    PyTorch's libraries complain about objects that are left, so it is not done with PyTorch.
    """
    try:
        yield
    finally:
        if _are_wanted() and "torch" not in sys.modules:
            gc.freeze()


def spare(*packages: str) -> None:
    """Make imports of packages fail in this process, which has no use for them.

    It is for the process that writes layers: pyogrio loads the packages that it could pass features
    to, if they are installed, 0.25 s of a core that the tracing process can use.
    """
    if _are_wanted():
        # None is Python's way to say "not there".
        sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]


PROJ_VARIABLES = ("PROJ_DATA", "PROJ_LIB")
"""Where PROJ looks for its database before it looks for its own."""
BUNDLES = {"rasterio": "proj_data", "pyproj": "proj_dir/share/proj", "pyogrio": "proj_data"}
"""Folder with PROJ's database in the packages that bring one along."""


def ignore_foreign_proj() -> list[str]:
    """Take away variables that name a database of another PROJ; returns what is to be said of it.

    Other programs set them for themselves. With an older database PROJ knows no codes any more, and
    GDAL goes on without: every CRS becomes a local one. Nothing is changed where the packages bring
    no database of their own, as those of conda and of Linux distributions do.

    Call it before anything that uses PROJ is loaded.
    """
    said: list[str] = []
    needed: tuple[int, int] | None = None
    for variable in PROJ_VARIABLES:
        folders = os.environ.get(variable, "")
        if not folders:
            continue
        needed = needed or _layout_of_bundled()
        found = max(map(_layout_of, folders.split(os.pathsep)), default=(0, 0))
        if needed > (0, 0) and (found[0] != needed[0] or found < needed):
            del os.environ[variable]
            said.append(
                f"{variable}={folders} holds the database of another PROJ or none; "
                "the one that comes with hyseg is used"
            )
    return said


def _layout_of_bundled() -> tuple[int, int]:
    """The newest layout among the databases of the packages, (0, 0) if one brings none."""
    found = []
    for package, folder in BUNDLES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return (0, 0)
        found.append(_layout_of(Path(spec.origin).parent / folder))
    return max(found) if all(layout > (0, 0) for layout in found) else (0, 0)


def _layout_of(folder: str | Path) -> tuple[int, int]:
    """Major and minor version of the layout of PROJ's database, (0, 0) if there is none."""
    import sqlite3  # only where a variable is set

    try:
        address = (Path(folder) / "proj.db").absolute().as_uri() + "?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = dict(database.execute("SELECT key, value FROM metadata"))
            major, minor = (
                int(rows[f"DATABASE.LAYOUT.VERSION.{part}"]) for part in ("MAJOR", "MINOR")
            )
    except (sqlite3.Error, KeyError, ValueError, TypeError, OSError):
        return (0, 0)
    return (major, minor)
