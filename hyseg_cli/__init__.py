"""hyseg: land-cover maps and clean polygons from large georeferenced images.

The commands as functions: `predict`, `vectorize`, `evaluate`, `train`, `sample` and `info`, and
`load_model` for arrays in memory. They are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyseg_cli.api import evaluate, info, load_model, predict, sample, train, vectorize
    from hyseg_cli.errors import HysegError

__version__: str
__all__ = [
    "HysegError",
    "evaluate",
    "info",
    "load_model",
    "predict",
    "sample",
    "train",
    "vectorize",
]


def __getattr__(name: str) -> object:
    """The version and the functions, loaded on first use, because most processes need neither."""
    if name == "__version__":
        return _version()
    if name in __all__:
        home = "hyseg_cli.errors" if name == "HysegError" else "hyseg_cli.api"
        return getattr(import_module(home), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hyseg")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
