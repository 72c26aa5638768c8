"""`hyseg vectorize`: land-cover map -> polygons that share edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyseg_cli.errors import OutputExistsError
from hyseg_cli.geo.vector.formats import files_of_layer
from hyseg_cli.geo.vector.geopackage import other_tables
from hyseg_cli.geo.vector.writer import LayerWriter
from hyseg_cli.messages import Messages
from hyseg_cli.settings.vectorize import VectorizeSettings
from hyseg_cli.startup import loading
from hyseg_cli.workflows.outputs import require_free

if TYPE_CHECKING:
    from hyseg_cli.workflows.vectorize.coverage import VectorizeResult


def run(settings: VectorizeSettings, messages: Messages) -> VectorizeResult:
    """Turn a class raster into a coverage of polygons, strip by strip.

    Raises:
        CheckFailedError: If the polygons do not form a coverage.
        HysegError: One of its kinds, for anything else; nothing is then left behind.
    """
    _require_free(settings)
    # The writer's process loads its libraries while this one loads its own.
    with LayerWriter() as writer:
        with loading():
            from hyseg_cli.workflows.vectorize.coverage import vectorize_map

        return vectorize_map(settings, messages, writer)


def _require_free(settings: VectorizeSettings) -> None:
    """Refuse to replace any file unless requested; a Shapefile is more than one file."""
    require_free(settings.out, overwrite=settings.overwrite)
    if settings.sieve_out is not None:
        require_free(settings.sieve_out, overwrite=settings.overwrite, flag="`sieve_out`")
    other_tables(settings.out, settings.layer)
    known = files_of_layer(settings.out, numbered=settings.split_files)
    if known and not settings.overwrite:
        raise OutputExistsError(
            f"{known[0]} exists already", hint="Use another `out`, or `overwrite`."
        )
