"""Loops over pixels and points, compiled on first use and cached on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


@contextmanager
def _doing_without(*packages: str) -> Iterator[None]:
    """Let the import of packages fail that numba asks for only to see whether they are there.

    Each takes longer to load than some small map takes to trace. One that others have loaded costs
    nothing any more, and is left alone.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: Python's "not there"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _load_array_functions() -> None:
    """Load numba's functions of arrays, which the first kernel needs, without scipy.

    No kernel multiplies matrices. Whoever compiles a product of matrices in the same process gets
    scipy as ever: numba asks for it again then.
    """
    if "scipy.linalg" in sys.modules or "numba.np.arraymath" in sys.modules:
        return  # it costs nothing any more
    # The package comes before its parts: if others have loaded it, only the part is in question.
    spared = ["scipy.linalg" if "scipy" in sys.modules else "scipy"]
    # What numba reads with yaml, and complains of where it cannot.
    if not Path(".numba_config.yaml").exists():
        spared.append("yaml")
    with _doing_without(*spared):
        from numba.np import arraymath
    arraymath._HAVE_BLAS = True  # noqa: SLF001 - what it would have found


_load_array_functions()

import numba  # noqa: E402 - not before its array functions


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function of numbers and numpy arrays; it runs without the interpreter's lock."""
    return cast("_Kernel", numba.njit(cache=True, nogil=True)(function))


def contracting_kernel(function: _Kernel) -> _Kernel:
    """A kernel in which a product and the sum it goes into may be rounded once, not twice.

    Processors that can do so are faster that way, and torch lets them, too.
    """
    compiled = numba.njit(cache=True, nogil=True, fastmath={"contract"})(function)
    return cast("_Kernel", compiled)


@kernel
def _same(number: int) -> int:
    return number


def get_ready() -> None:
    """Run a kernel, so that what all of them need is there.

    numba loads its tables of types and functions with the first one, in an eighth of a second. Who
    calls this chooses when. Kernels that call C functions of cffi, or take arguments that other
    packages have taught numba, can no longer be compiled in this process; hyseg has none.
    """
    from numba.core import entrypoints

    entrypoints._already_initialized = True  # noqa: SLF001 - or every package is asked for them
    with _doing_without("cffi"):
        _same(0)
