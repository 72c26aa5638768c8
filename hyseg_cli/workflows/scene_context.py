"""Scenes that are seen with their neighbours while a run lasts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.neighbours import find_neighbourhood, vrt_of
from hyseg_cli.geo.work import WRITE_ERRORS, unwritable
from hyseg_cli.settings import PredictSettings
from hyseg_cli.workflows.scene_list import Job

VRT_NAME = ".hyseg-context.vrt"


@contextmanager
def seen_together(jobs: tuple[Job, ...], settings: PredictSettings) -> Iterator[tuple[Job, ...]]:
    """The same scenes as windows of a VRT over all of them, if that was asked for.

    Raises:
        UsageProblemError: If they are not parts of one grid.
        HysegError: If the VRT cannot be written.
    """
    if not settings.context:
        yield jobs
        return
    if len(jobs) < 2:
        raise UsageProblemError(
            "--context needs neighbours, but there is one scene",
            hint="Give the folder of all scenes, or leave out --context.",
        )
    neighbourhood = find_neighbourhood([job.scene for job in jobs])
    vrt = settings.out / VRT_NAME
    _write(vrt, vrt_of(neighbourhood))
    try:
        yield tuple(
            replace(job, part_of=str(vrt), window=window)
            for job, window in zip(jobs, neighbourhood.windows, strict=True)
        )
    finally:
        if settings.shard is None:  # other parts may still read it
            vrt.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except WRITE_ERRORS as error:
        raise unwritable(path, error) from error
