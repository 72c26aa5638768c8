"""Loops over pixels and points, compiled on first use and cached on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


_SPARED = ("scipy",) if Path(".numba_config.yaml").exists() else ("scipy", "yaml")
"""numba asks scipy for its version; yaml reads numba's settings if there is such a file."""


@contextmanager
def _doing_without(*packages: str) -> Iterator[None]:
    """Make imports fail that numba only tries to find out which packages are installed.

    Each takes longer to load than a small map takes to trace. A package that is already loaded
    costs nothing and is left alone.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: Python's "not there"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _doing_without(*_SPARED):
    import numba
    from numba.core.caching import FunctionCache
    from numba.core.registry import CPUDispatcher
    from numba.core.runtime.nrt import rtsys


class _SavedKernels(FunctionCache):
    """A cache of compiled kernels that loads without numba's tables of everything it can compile.

    numba fills them, in an eighth of a second, before it looks for a kernel on the disk. One that
    is found needs no more than the memory management; for one that is not, the compiler fills them.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


class _Kernel(CPUDispatcher):
    """A function that is compiled when it is first called with arguments of these types."""

    def enable_caching(self) -> None:
        self._cache = _SavedKernels(self.py_func)  # type: ignore[no-untyped-call]

    def _compilation_chain_init_hook(self) -> None:
        """Skip the search for packages that extend numba: kernels take only arrays and numbers.

        If a kernel must be compiled, the compiler does the search.
        """


def kernel(function: _Function) -> _Function:
    """Compile a function of numbers and numpy arrays; it runs without the interpreter's lock."""
    return _compiled(function)


def inlined_kernel(function: _Function) -> _Function:
    """A kernel that is inlined into its callers, for code that runs about once per edge.

    A call would pass seven numbers for every array.
    """
    return _compiled(function, forceinline=True)


def contracting_kernel(function: _Function) -> _Function:
    """A kernel that may round a product and the sum it goes into once instead of twice.

    That is faster on processors that support it, and torch does the same.
    """
    return _compiled(function, fastmath={"contract"})


def _compiled(function: _Function, **options: object) -> _Function:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined] # set by a loop over the environment
        return function
    dispatcher = _Kernel(function, targetoptions={"nopython": True, "nogil": True, **options})
    dispatcher.enable_caching()
    return cast("_Function", dispatcher)
