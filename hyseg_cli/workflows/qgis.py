"""`hyseg qgis`: the plugin, copied into a profile of QGIS or packed into a zip."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError, OutputExistsError, UsageProblemError
from hyseg_cli.geo.atomic import folder_beside
from hyseg_cli.workflows.outputs import write_bytes

PLUGIN = "hyseg_qgis"
"""Name of the plugin's folder, and so of its Python package."""
PROGRAM_FILE = "program.json"
"""Holds the words that start this program; the plugin reads it."""
CUSTOM_FOLDER = "QGIS_CUSTOM_CONFIG_PATH"
"""Environment variable by which QGIS keeps its profiles elsewhere."""
_SECTION = "[PythonPlugins]"


@dataclass(frozen=True)
class Installed:
    """Where the plugin is now."""

    profile: Path
    plugin: Path
    command: tuple[str, ...]
    """The words by which the plugin starts hyseg."""
    is_enabled: bool
    """Whether it was enabled in the settings of the profile."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "profile": str(self.profile),
            "plugin": str(self.plugin),
            "command": list(self.command),
            "enabled": self.is_enabled,
        }

    def to_text(self) -> str:
        """Where it is, and what to do next."""
        then = (
            "Start QGIS again: hyseg is in the Processing toolbox (Ctrl+Alt+T)."
            if self.is_enabled
            else "Start QGIS again and tick hyseg in Plugins > Manage and Install Plugins."
        )
        return f"{self.plugin}\nruns {' '.join(self.command)}\n{then}"


def install(profile: str | None = None, *, enable: bool = True) -> Installed:
    """Copy the plugin into a profile of QGIS; it runs the hyseg that this is.

    An older copy is replaced at once: QGIS never sees half a plugin.

    Args:
        profile: Name of a profile, or its folder; None for `default`.
        enable: Enable it in the settings of the profile, which QGIS reads when it starts.

    Raises:
        UsageProblemError: If there is no such profile.
        OutputExistsError: If something else has the name of the plugin.
        HysegError: If it cannot be written.
    """
    folder = profile_folder(profile)
    plugins = folder / "python" / "plugins"
    place = plugins / PLUGIN
    if place.exists() and not (place / "metadata.txt").is_file():
        raise OutputExistsError(
            f"{place} exists already, and is not this plugin", hint="Move it away."
        )
    command = own_command()
    try:
        plugins.mkdir(parents=True, exist_ok=True)
        with folder_beside(place) as made:
            fresh = made / PLUGIN
            for name, content in plugin_files():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
            text = json.dumps({"command": command}, indent=1)
            (fresh / PROGRAM_FILE).write_text(text, encoding="utf-8")
            if place.is_symlink():
                place.unlink()
            elif place.exists():
                place.rename(made / "old")
            fresh.rename(place)
        if enable:
            _enable(folder / "QGIS" / settings_name(folder))
    except OSError as error:
        raise HysegError(
            f"{plugins}: the plugin cannot be written ({error})",
            hint="Check the permissions, or name another `profile`.",
        ) from error
    return Installed(folder, place, tuple(command), enable)


def uninstall(profile: str | None = None) -> Path:
    """Remove the plugin from a profile of QGIS.

    Returns:
        The folder that was removed.

    Raises:
        UsageProblemError: If it is not there, or there is no such profile.
        HysegError: If it cannot be removed.
    """
    place = profile_folder(profile) / "python" / "plugins" / PLUGIN
    if not (place / "metadata.txt").is_file():
        raise UsageProblemError(
            f"{place}: the plugin is not there", hint="Name the `profile` it was installed in."
        )
    try:
        if place.is_symlink():
            place.unlink()
        else:
            shutil.rmtree(place)
    except OSError as error:
        raise HysegError(
            f"{place} cannot be removed ({error})", hint="Check the permissions; close QGIS."
        ) from error
    return place


def write_zip(path: Path, *, home: str | None = None, email: str | None = None) -> Path:
    """Pack the plugin for `Plugins > Install from ZIP`, or for the site of plugins.

    The bytes depend on the plugin alone, not on when or where they are packed.

    Args:
        path: The file.
        home: Address of the public repository, which the site asks for; None to leave it out.
        email: Address of who publishes it; likewise.

    Raises:
        HysegError: If it cannot be written.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in plugin_files():
            is_metadata = name == "metadata.txt"
            entry = zipfile.ZipInfo(f"{PLUGIN}/{name}")
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(
                entry, _with_addresses(content, home, email) if is_metadata else content
            )
    write_bytes(path, packed.getvalue())
    return path


def plugin_files() -> Iterator[tuple[str, bytes]]:
    """The files of the plugin, in the order of their names, and what is in them."""
    with as_file(files("hyseg_cli").joinpath("qgis_plugin")) as folder:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(folder).as_posix(), path.read_bytes()


def own_command() -> list[str]:
    """The words that start the hyseg that runs now: its script, else Python and the package."""
    for name in ("hyseg", "hyseg.exe"):
        script = Path(sysconfig.get_path("scripts")) / name
        if script.is_file():
            return [str(script)]
    return [sys.executable, "-m", "hyseg_cli"]


def profile_folder(profile: str | None = None) -> Path:
    """The folder of a profile of QGIS.

    Args:
        profile: Its name, or its folder, which has a separator in it; None for `default`.

    Returns:
        A folder that exists, or that of `default`, which QGIS makes when it starts first.

    Raises:
        UsageProblemError: If there is no such profile.
    """
    if profile is not None and (os.sep in profile or (os.altsep or os.sep) in profile):
        folder = Path(profile).expanduser()
        if folder.is_dir():
            return folder.absolute()
        raise UsageProblemError(
            f"{folder}: no such folder",
            hint="In QGIS, Settings > User Profiles > Open Active Profile Folder shows it.",
        )
    roots = profile_roots()
    name = profile or "default"
    for root in roots:
        if (root / name).is_dir():
            return root / name
    if name == "default":
        return roots[0] / name
    known = sorted(p.name for root in roots if root.is_dir() for p in root.iterdir() if p.is_dir())
    raise UsageProblemError(
        f"QGIS has no profile called {name!r}",
        hint=f"There is {', '.join(known) or 'none yet'}; `profile` also takes a folder.",
    )


def profile_roots() -> tuple[Path, ...]:
    """Where QGIS keeps its profiles on this system, the usual place first."""
    custom = os.environ.get(CUSTOM_FOLDER)
    if custom:
        return (Path(custom) / "profiles",)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", home / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    places = [base / "QGIS" / version / "profiles" for version in ("QGIS3", "QGIS4")]
    flatpak = home / ".var" / "app" / "org.qgis.qgis" / "data" / "QGIS" / "QGIS3" / "profiles"
    return (*places, flatpak)


def settings_name(profile: Path) -> str:
    """Name of the file of settings in a profile's folder QGIS."""
    return "QGIS4.ini" if "QGIS4" in profile.parts else "QGIS3.ini"


def _enable(path: Path) -> None:
    """Set `hyseg_qgis=true` in the settings of QGIS, and leave every other byte as it is."""
    content = path.read_bytes() if path.is_file() else b""
    own, section = f"{PLUGIN}=".encode(), _SECTION.encode()
    lines = [line for line in content.splitlines(keepends=True) if not line.startswith(own)]
    if section not in [line.strip() for line in lines]:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        lines.append(section + b"\n")
    place = [line.strip() for line in lines].index(section)
    lines.insert(place + 1, own + b"true\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".hyseg")
    fresh.write_bytes(b"".join(lines))
    fresh.replace(path)


def _with_addresses(metadata: bytes, home: str | None, email: str | None) -> bytes:
    """The metadata with what the site of plugins asks for."""
    lines = metadata.decode("utf-8").rstrip("\n").split("\n")
    if home is not None:
        base = home.rstrip("/")
        lines += [f"homepage={base}", f"repository={base}", f"tracker={base}/issues"]
    if email is not None:
        lines.append(f"email={email}")
    return ("\n".join(lines) + "\n").encode()
