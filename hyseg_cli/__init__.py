"""hyseg: land-cover maps and clean polygons from large georeferenced images."""

__version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: most processes never ask, and it takes time."""
    if name != "__version__":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hyseg")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
