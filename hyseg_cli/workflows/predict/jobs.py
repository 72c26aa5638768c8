"""The scenes of a run, and where the outputs of each go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.object_storage import PREFIX, exists, is_remote
from hyseg_cli.geo.raster.raster import Raster, is_utf8
from hyseg_cli.geo.suffixes import STAC_SUFFIX, STYLE_SUFFIXES
from hyseg_cli.geo.window import Window
from hyseg_cli.settings.checks import check, check_report, check_suffix
from hyseg_cli.settings.predict import PredictSettings
from hyseg_cli.workflows.outputs import refuse_inputs

SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg")
"""Suffixes of scenes in a folder."""
MAP_SUFFIX = "_hyseg"
"""Ending of the names of maps in a folder; such files are not scenes."""


@dataclass(frozen=True)
class Job:
    """One scene and its outputs."""

    scene: str
    out: Path
    confidence: Path | None
    probabilities: Path | None
    preview: Path | None = None
    report: Path | None = None
    part_of: str | None = None
    """A VRT of which the scene is a window, if it is mapped with its neighbours."""
    window: Window | None = None
    """This window; None for a scene that is mapped alone."""
    itself: Raster | None = None
    """The scene of the window, which gives the map its georeference."""
    with_style: bool = False
    """Whether styles are wanted beside the map."""
    with_stac: bool = False
    """Whether a STAC Item is wanted beside the map."""
    staging: Path | None = None
    """Local folder for outputs that go to object storage; None if none do."""

    @property
    def outputs(self) -> dict[str, Path]:
        """The requested outputs, by flag; the map comes last."""
        return self.documents | self.rasters

    @property
    def documents(self) -> dict[str, Path]:
        """Those of them that are made from the rasters, for people."""
        return _wanted({"`preview`": self.preview, "`report`": self.report})

    @property
    def rasters(self) -> dict[str, Path]:
        """Those of them that are rasters; the map comes last."""
        return _wanted(
            {
                "`confidence`": self.confidence,
                "`probabilities`": self.probabilities,
                "`out`": self.out,
            }
        )

    @property
    def beside(self) -> dict[str, Path]:
        """Files beside the map that are named after it, by the ending of their names."""
        styles = {suffix: self.out.with_suffix(suffix) for suffix in STYLE_SUFFIXES}
        item = {STAC_SUFFIX: self.out.with_name(self.out.name + STAC_SUFFIX)}
        return (styles if self.with_style else {}) | (item if self.with_stac else {})

    @property
    def work(self) -> WorkFolder:
        """Where the scene is while it is mapped."""
        return WorkFolder(self.out, remote=self.remote_of(self.out))

    def remote_of(self, path: Path) -> str | None:
        """The name that an output gets in object storage; None if it stays on disk."""
        if self.staging is None or not path.is_relative_to(self.staging):
            return None
        return f"{PREFIX}{path.relative_to(self.staging).as_posix()}"

    def name_of(self, path: Path) -> str:
        """Where an output is in the end."""
        return self.remote_of(path) or str(path)

    def has(self, path: Path) -> bool:
        """Whether an output is there.

        Raises:
            HysegError: If object storage cannot be asked.
        """
        remote = self.remote_of(path)
        return path.exists() if remote is None else exists(remote)


def _wanted(outputs: dict[str, Path | None]) -> dict[str, Path]:
    return {flag: path for flag, path in outputs.items() if path is not None}


def list_jobs(settings: PredictSettings) -> tuple[Job, ...]:
    """One job for each scene.

    A single scene is written to the named files; several scenes to folders, which are created if
    needed.

    Raises:
        UsageProblemError: If there is no scene, two outputs would be one file, an output is a
            scene, or a name does not fit.
        HysegError: If a folder cannot be read.
    """
    _require_names(settings)
    scenes = tuple(_expand(settings.inputs))
    if not scenes:
        raise UsageProblemError(
            f"{', '.join(settings.inputs)}: no scenes found",
            hint=f"A folder is searched for {', '.join(SUFFIXES)}.",
        )
    if is_single(settings):
        job = Job(
            scenes[0],
            settings.out,
            settings.confidence,
            settings.probabilities,
            settings.preview,
            settings.report,
            with_style=settings.style,
            with_stac=settings.stac,
        )
        for flag, path in job.rasters.items():
            check_suffix(path, (".tif", ".tiff"), "Maps are GeoTIFFs: end the name in .tif.", flag)
        if job.preview is not None:
            check_suffix(job.preview, (".png",), "Previews end in .png.", "`preview`")
        check_report(job.report)
        _require_distinct((job,))
        return (job,)
    jobs = tuple(
        Job(
            scene,
            settings.out / f"{_stem(scene)}{MAP_SUFFIX}.tif",
            _in_folder(settings.confidence, scene, "confidence.tif"),
            _in_folder(settings.probabilities, scene, "probabilities.tif"),
            _in_folder(settings.preview, scene, "preview.png"),
            _in_folder(settings.report, scene, "report.html"),
            with_style=settings.style,
            with_stac=settings.stac,
        )
        for scene in scenes
    )
    _require_distinct(jobs)
    return jobs


def is_single(settings: PredictSettings) -> bool:
    """Whether one scene was named, so that `out` is a file."""
    only = settings.inputs[0]
    return len(settings.inputs) == 1 and not only.startswith("@") and not Path(only).is_dir()


def make_folders(settings: PredictSettings) -> None:
    """Create the folders for the outputs of several scenes.

    Raises:
        HysegError: If the system refuses to write.
        UsageProblemError: If a file has the name of a folder.
    """
    if is_single(settings):
        return
    wanted = {
        "`out`": settings.out,
        "`confidence`": settings.confidence,
        "`probabilities`": settings.probabilities,
        "`preview`": settings.preview,
        "`report`": settings.report,
    }
    for flag, path in wanted.items():
        if path is None or is_remote(path):
            continue
        check(
            not path.is_file(),
            f"{path} is a file, but several scenes need a folder",
            f"Give {flag} the name of a folder.",
        )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HysegError(
                f"{path} cannot be made ({error.strerror})", hint="Check the permissions."
            ) from error


def _expand(inputs: Iterable[str]) -> Iterator[str]:
    for name in inputs:
        if name.startswith("@"):
            yield from _lines_of(Path(name[1:]))
        elif Path(name).is_dir():
            yield from _scenes_in(Path(name))
        else:
            yield name


def _scenes_in(folder: Path) -> Iterator[str]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise HysegError(
            f"{folder} cannot be read ({error.strerror})", hint="Check the permissions."
        ) from error
    yield from (str(path) for path in found if _is_scene(path))


def _lines_of(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblemError(
            f"{path} cannot be read as a list of scenes ({error})",
            hint="Write one path per line; empty lines and those that start with # are left out.",
        ) from error
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _is_scene(path: Path) -> bool:
    return (
        path.is_file()
        and path.suffix.lower() in SUFFIXES
        and not path.stem.endswith(MAP_SUFFIX)
        and not path.name.startswith(".")
    )


def _stem(scene: str) -> str:
    return Path(scene.rstrip("/").rpartition("/")[2]).stem


def _in_folder(folder: Path | None, scene: str, what: str) -> Path | None:
    if folder is None:
        return None
    name, dot, suffix = what.partition(".")
    return folder / f"{_stem(scene)}_{name}{MAP_SUFFIX}{dot}{suffix}"


def _require_names(settings: PredictSettings) -> None:
    # An empty path would mean the current folder; a forgotten shell variable does not mean that.
    check(
        all(name not in ("", "@") for name in settings.inputs),
        "the name of a scene is empty",
        "Check the variables of your script.",
    )
    for path in (settings.out, settings.confidence, settings.probabilities):
        check(
            path is None or is_utf8(str(path)),
            f"{path} is not valid UTF-8, so GDAL cannot write it",
            "Use another name.",
        )


def _require_distinct(jobs: tuple[Job, ...]) -> None:
    """Every file has one purpose: that of an output, or that of a scene."""
    scenes = [job.scene for job in jobs]
    seen: dict[str, tuple[str, Job]] = {}
    for job in jobs:
        for flag, path in job.outputs.items():
            other_flag, other = seen.setdefault(os.path.realpath(path), (flag, job))
            check(
                other is job,
                f"{other.scene} and {job.scene} would both be written to {path}",
                "Map them in separate runs with folders of their own.",
            )
            check(
                other_flag == flag,
                f"{other_flag} and {flag} would both be written to {path}",
                f"Use another {flag}.",
            )
    for job in jobs:
        refuse_inputs(job.outputs, scenes)
