"""Scenes that are seen with their neighbours while a run lasts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.output.context import find_neighbourhood, vrt_of
from hyseg_cli.geo.output.work_folder import WRITE_ERRORS, unwritable
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.messages import Messages
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job

VRT_NAME = "context.vrt"
SHIFT_TO_TELL = 0.01
"""Offset from the common grid, in pixels, above which the user is informed."""


@contextmanager
def seen_together(
    jobs: tuple[Job, ...], settings: PredictSettings, messages: Messages
) -> Iterator[tuple[Job, ...]]:
    """The same scenes as windows of a VRT over all of them, if requested.

    A scene that cannot be opened has no neighbours; mapping it reports why.

    Raises:
        UsageProblemError: If they are not parts of one grid.
        HysegError: If the VRT cannot be written, or a scene is not readable and `on_error` is stop.
    """
    if not settings.context:
        yield jobs
        return
    if len(jobs) < 2:
        raise UsageProblemError(
            "`context` needs neighbours, but there is one scene",
            hint="Give the folder of all scenes, or leave out `context`.",
        )
    # In a folder of its own: nothing is written beside the maps before they exist, and processes
    # that share the work do not collide. Other machines see only the folder of the maps.
    place, prefix = (None, "hyseg-") if settings.cluster is None else (settings.out, ".hyseg-")
    with tempfile.TemporaryDirectory(
        prefix=prefix, dir=place and place.absolute(), ignore_cleanup_errors=True
    ) as folder:
        yield _laid_out(jobs, Path(folder) / VRT_NAME, settings, messages)


def _laid_out(
    jobs: tuple[Job, ...], vrt: Path, settings: PredictSettings, messages: Messages
) -> tuple[Job, ...]:
    opened = {job.scene: scene for job in jobs if (scene := _open(job, settings)) is not None}
    if not opened:
        return jobs
    neighbourhood = find_neighbourhood(list(opened.values()))
    if neighbourhood.shift > SHIFT_TO_TELL:
        messages.warn(
            f"the scenes are shifted against each other by up to {neighbourhood.shift:.3f} of a "
            "pixel; each is seen at the nearest whole pixel of the first one's grid"
        )
    _write(vrt, vrt_of(neighbourhood))
    windows = dict(zip(opened, neighbourhood.windows, strict=True))
    return tuple(
        replace(job, part_of=str(vrt), window=windows[job.scene], itself=opened[job.scene])
        if job.scene in opened
        else job
        for job in jobs
    )


def _open(job: Job, settings: PredictSettings) -> Raster | None:
    try:
        return open_raster(job.scene)
    except HysegError:
        if settings.on_error == "stop":
            raise
        return None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except WRITE_ERRORS as error:
        raise unwritable(path, error) from error
