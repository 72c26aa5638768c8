"""`hyseg check`: the parts of this installation and whether they work; for bug reports."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hyseg_cli import __version__
from hyseg_cli.startup import loading

PACKAGES = (
    "numpy", "rasterio", "pyogrio", "pyproj", "shapely", "geopandas", "numba", "torch",
    "torchvision", "lightning", "timm", "torchgeo", "safetensors", "click",
)  # fmt: skip
EXTRAS = ("ray", "boto3", "scikit-image", "tensorboard", "mlflow", "wandb", "onnx", "onnxruntime")
"""Packages of extras; a missing one is not a fault."""
VARIABLES = ("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB", "PYTHONPATH", "PYTHONHOME")
"""Variables that lead libraries to files of another installation."""
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    name: str
    text: str
    is_ok: bool = True


@dataclass(frozen=True)
class Check:
    """Everything that was checked."""

    findings: tuple[Finding, ...]

    @property
    def is_ok(self) -> bool:
        """Whether every part works."""
        return all(finding.is_ok for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        found = {finding.name: finding.text for finding in self.findings}
        return {
            "ok": self.is_ok,
            "found": found,
            "problems": [finding.name for finding in self.findings if not finding.is_ok],
        }

    def to_text(self) -> str:
        """A line for each thing, to paste into a report."""
        return "\n".join(
            f"{finding.name:<13} {finding.text}{'' if finding.is_ok else '   <- PROBLEM'}"
            for finding in self.findings
        )


def run() -> Check:
    """Check everything; a part that fails is a finding, not an error."""
    parts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("hyseg", lambda: __version__),
        ("python", lambda: f"{platform.python_version()}, {sys.executable}"),
        ("system", lambda: f"{platform.platform()}, {os.cpu_count()} CPUs"),
        ("memory", _memory),
        ("packages", lambda: _versions(PACKAGES)),
        ("extras", lambda: _versions(EXTRAS) or "none"),
        ("GDAL", _gdal),
        ("PROJ", _proj),
        ("PyTorch", _torch),
        ("GPUs", _gpus),
        ("model", _model),
        ("models in", _model_folders),
        ("scratch", _scratch),
    )
    with loading():
        findings = [_look(name, part) for name, part in parts]
    return Check((*findings, *_misleading_variables()))


def _look(name: str, part: Callable[[], str]) -> Finding:
    try:
        return Finding(name, part())
    except Exception as error:  # noqa: BLE001 - whatever is broken is what is looked for
        return Finding(name, f"{type(error).__name__}: {error}", is_ok=False)


def _versions(names: tuple[str, ...]) -> str:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name in PACKAGES:
                raise
    return ", ".join(found)


def _memory() -> str:
    pages = getattr(os, "sysconf", None)
    if pages is None or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "not known"
    size = os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * size if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    more = f", {free / GIB:.1f} GiB free" if free else ""
    return f"{os.sysconf('SC_PHYS_PAGES') * size / GIB:.1f} GiB{more}"


def _gdal() -> str:
    import pyogrio
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    with rasterio.Env() as env:
        missing = {"GTiff", "COG", "VRT", "JPEG"} - set(env.drivers())
    if missing:
        raise RuntimeError(f"no driver {', '.join(sorted(missing))}")
    vectors = ".".join(map(str, pyogrio.__gdal_version__))
    return (
        f"{rasterio.__gdal_version__} (rasters, {len(raster_driver_extensions())} suffixes), "
        f"{vectors} (vectors)"
    )


def _proj() -> str:
    import pyproj
    from pyproj.network import is_network_enabled  # type: ignore[attr-defined]

    # Where a central meridian meets the equator, by definition: wrong tables give something else.
    place = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform(3.0, 0.0)
    if max(abs(place[0] - 500_000), abs(place[1])) > 0.01:
        raise RuntimeError(f"3 E, 0 N is at {place} in EPSG:32631, not at 500000, 0")
    network = "on" if is_network_enabled() else "off"
    return f"{pyproj.proj_version_str}, {pyproj.datadir.get_data_dir()}, network {network}"


def _torch() -> str:
    import torch
    import torchvision  # noqa: F401 - one that was built for another PyTorch fails when it loads

    if not torch.allclose(torch.eye(3) @ torch.ones(3, 1), torch.ones(3, 1)):
        raise RuntimeError("a product of matrices is wrong")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return f"{torch.__version__}, {built}, {torch.get_num_threads()} threads"


def _gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that PyTorch can use"
    names = []
    for index in range(torch.cuda.device_count()):
        seen = torch.cuda.get_device_properties(index)
        torch.ones(1, device=f"cuda:{index}").sum().item()
        names.append(f"cuda:{index} {seen.name} ({seen.total_memory / GIB:.0f} GiB)")
    return ", ".join(names)


def _model() -> str:
    from hyseg_cli.learn.model.card import digest_of, read_card
    from hyseg_cli.learn.model.locate import find_model

    path = find_model(None)
    return f"{', '.join(read_card(path).legend.names)} ({digest_of(path)})"


def _model_folders() -> str:
    from hyseg_cli.learn.model.locate import model_folders

    return ", ".join(
        f"{folder} ({'is there' if folder.is_dir() else 'not there'})" for folder in model_folders()
    )


def _scratch() -> str:
    folder = Path(tempfile.gettempdir())
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"hyseg")
    return f"{folder}, {shutil.disk_usage(folder).free / GIB:.1f} GiB free"


def _misleading_variables() -> list[Finding]:
    """Variables by which another installation's files are read; harmless if they are its own."""
    return [Finding(name, os.environ[name]) for name in VARIABLES if os.environ.get(name)]
