"""Outputs that go to object storage: made in a folder of this machine, then uploaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError, OutputExistsError, UsageProblemError
from hyseg_cli.geo.raster import object_storage
from hyseg_cli.geo.raster.object_storage import PREFIX, is_remote
from hyseg_cli.geo.suffixes import OWN_SUFFIXES, SIDECAR_SUFFIX
from hyseg_cli.settings.checks import check
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.predict.jobs import Job

OUTPUTS = ("out", "confidence", "probabilities", "preview", "report")


def stage(job: Job, settings: PredictSettings) -> Job:
    """The job with a path on this machine for each output that goes to object storage.

    Raises:
        UsageProblemError: If an output cannot go there, or would replace the scene.
        HysegError: If the folder cannot be made.
    """
    root = _root(settings)
    changes: dict[str, Any] = {}
    for field in OUTPUTS:
        path: Path | None = getattr(job, field)
        if path is None or not str(path).startswith("/vsi"):
            continue
        check(
            is_remote(path),
            f"{path} cannot be written to",
            "Outputs go to files or to object storage: /vsis3/BUCKET/NAME.",
        )
        check(str(path) != job.scene, f"{path} is the scene itself", "Use another name.")
        changes[field] = root / str(path).removeprefix(PREFIX)
    if not changes:
        return job
    _require_possible(settings)
    for path in changes.values():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HysegError(
                f"{path.parent} cannot be made ({error.strerror})",
                hint="Use another `staging`, a folder on a disk of this machine.",
            ) from error
    return replace(job, staging=root, **changes)


def _root(settings: PredictSettings) -> Path:
    if settings.staging is not None:
        return settings.staging.absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hyseg" / "staging"


def _require_possible(settings: PredictSettings) -> None:
    if settings.mosaic is not None:
        raise UsageProblemError(
            "`mosaic` joins maps on this machine, not in object storage",
            hint="Leave it out, and make a VRT of the maps with gdalbuildvrt.",
        )
    if settings.context and settings.cluster is not None:
        raise UsageProblemError(
            "`context` with `cluster` needs an `out` that all machines share as a folder",
            hint="Leave out `context`, or map to a shared folder.",
        )


def require_absent(name: str, flag: str) -> None:
    """Refuse an output that exists in object storage.

    Raises:
        OutputExistsError: If it is.
        HysegError: If storage cannot be asked.
    """
    if object_storage.exists(name):
        raise OutputExistsError(
            f"{name} exists already", hint=f"Use another {flag}, or `overwrite`."
        )


def deliver(job: Job) -> None:
    """Upload the outputs of a scene that go to object storage, the map last.

    Raises:
        HysegError: If storage refuses; the outputs are still on this machine.
    """
    files = [*job.documents.values(), *job.beside.values()]
    for raster in job.rasters.values():
        files += [raster.with_name(raster.name + SIDECAR_SUFFIX), raster]
    going = {path: remote for path in files if (remote := job.remote_of(path)) is not None}
    remotes = [job.remote_of(raster) for raster in job.rasters.values()]
    stale = {f"{name}{suffix}" for name in remotes if name for suffix in OWN_SUFFIXES}
    object_storage.remove(sorted(stale - set(going.values())))
    for path, remote in going.items():
        object_storage.upload(path, remote)
    for path in going:
        path.unlink()
