"""Lists of errors for the catalogue: the page says why, the sources say what."""

from __future__ import annotations

import re
from functools import cache

from command_pages import all_commands
from raised import Raised, Sources

from hyseg_cli.cli.flags import flag_writer

PLACEHOLDER = re.compile(r"<!-- errors: (\w+) (\w+) -->")
"""Where the page wants the errors of an exit code about a subject."""

SUBJECTS = {
    "typed": ("cli", "settings", "geo.tiling"),
    "models": (
        "learn.model", "learn.inference", "hyseg_models", "workflows.info.share",
    ),
    "written": (
        "geo.output", "geo.vector", "learn.training", "workflows.outputs", "workflows.qgis",
        "workflows.predict.delivery", "workflows.train.features", "workflows.train.run_folder",
    ),
    "labels": ("legend", "learn.data", "learn.scores", "geo.classes", "workflows.train"),
    "scenes": ("geo.raster", "workflows.predict"),
    "points": ("sampling", "workflows.sample"),
}  # fmt: skip
"""By the room that raises, the first that matches; all else is about maps."""
REST = "maps"


@cache
def sources() -> Sources:
    """The sources of the project."""
    return Sources.of_project()


@cache
def errors() -> tuple[Raised, ...]:
    """Every error of the project."""
    return tuple(sources().errors())


def subject_of(raised: Raised) -> str:
    """What an error is about."""
    module = raised.module.removeprefix("hyseg_cli.")
    for subject, starts in SUBJECTS.items():
        if any(re.match(rf"{re.escape(start)}($|[._])", module) for start in starts):
            return subject
    return REST


def fill(markdown: str) -> str:
    """The catalogue with its lists; errors that no place is meant for stand at its end."""
    groups: dict[tuple[str, str], list[Raised]] = {}
    for raised in errors():
        groups.setdefault((raised.code, subject_of(raised)), []).append(raised)
    wanted = set(PLACEHOLDER.findall(markdown))
    text = PLACEHOLDER.sub(lambda found: _list(groups.get((found[1], found[2]), [])), markdown)
    rest = [raised for key in sorted(groups) if key not in wanted for raised in groups[key]]
    return f"{text}\n\n## Others\n\n{_list(rest)}" if rest else text


def _list(found: list[Raised]) -> str:
    lines = []
    shown = {}
    typed = flag_writer(command for _, command in all_commands())
    for raised in found:
        shown.setdefault((typed(raised.message), typed(raised.hint)), raised)
    for message, hint in sorted(shown):
        lines.append(f"- {code(message)}" + (f"<br>{code(hint)}" if hint else ""))
    return "\n".join(lines)


def code(text: str) -> str:
    """A text as it is printed, whatever signs are in it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"
