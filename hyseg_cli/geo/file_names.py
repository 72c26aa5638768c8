"""Names of files as GDAL and its Python bindings take them: a name is only a name.

rasterio and pyogrio read names as addresses: `s3:b.tif` lies on a server, `new!b.gpkg` is the file
`b.gpkg` of an archive, and what follows `;` or a leading space goes away. Whoever writes to such
a name writes to another file. So no name of a file reaches them as it was typed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_MISREAD = re.compile(r"[!;?#\t\r\n]|^//")
"""What pyogrio drops, or cuts an absolute path at."""


def raster_name(name: str | Path) -> str:
    """A raster as rasterio opens it: a file by its absolute path, anything else as it was typed.

    Args:
        name: A file, or what GDAL opens by another name: a URL, `/vsis3/...`, `NETCDF:a.nc:b`.
    """
    text = str(name)
    return text if text.startswith("/vsi") or not os.path.lexists(name) else absolute(text)


def absolute(path: str | Path) -> str:
    """The absolute path of a file, which no library takes for an address; it need not exist."""
    # POSIX keeps two leading slashes, and URLs begin their host with them.
    return re.sub("^/{2,}", "/", str(Path(path).absolute()))


def vector_name(path: str | Path) -> str:
    """A vector file as pyogrio opens it for reading."""
    name = absolute(path)
    # GDAL's own prefix for "this file from its first byte on" keeps pyogrio from looking further.
    return f"/vsisubfile/0,{name}" if _MISREAD.search(name) else name
