"""hyseg: land-cover maps and clean polygons from large georeferenced images."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hyseg")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
