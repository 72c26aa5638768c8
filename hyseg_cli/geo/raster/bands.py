"""Band numbers, as the user counts them."""

from __future__ import annotations

from hyseg_cli.errors import UsageProblemError


def require_bands(bands: tuple[int, ...], count: int, name: str) -> None:
    """Refuse band numbers that a raster does not have.

    Args:
        bands: Requested numbers, from 1.
        count: Bands of the raster.
        name: What to call the raster.

    Raises:
        UsageProblemError: If one is out of range.
    """
    for band in bands:
        if not 1 <= band <= count:
            raise UsageProblemError(
                f"`bands` {band}: {name} has {count} bands",
                hint=f"Name bands between 1 and {count}.",
            )
