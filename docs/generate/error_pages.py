"""Lists of errors for the catalogue: the page says why, the sources say what."""

from __future__ import annotations

import re
from functools import cache

from raised import Raised, Sources

PLACEHOLDER = re.compile(r"<!-- errors: (\w+) (\w+) -->")
"""Where the page wants the errors of an exit code about a subject."""

SUBJECTS = {
    "typed": (
        "commands", "options", "environment", "settings", "quantity", "geo.grid", "learn.device",
        "learn.processes", "learn.views",
    ),
    "scenes": (
        "geo.scene", "geo.reading", "geo.validity", "geo.bands", "geo.neighbours", "geo.place",
        "geo.shapes", "geo.picture", "geo.draw", "learn.contract", "learn.pictures",
        "workflows.scene_list", "workflows.scene_context", "workflows.mapping",
    ),
    "models": (
        "learn.card", "learn.weights", "learn.infer", "learn.stage", "workflows.training_network",
        "workflows.evaluated_model", "hyseg_models",
    ),
    "labels": (
        "legend", "legend_files", "learn.label_sources", "learn.labels", "learn.legends",
        "learn.class_sources", "learn.crosswalk", "learn.pairs", "learn.scenes", "learn.survey",
        "learn.benchmarks", "geo.names", "workflows.training_scenes", "workflows.train",
    ),
    "points": (
        "geo.points", "geo.population", "learn.design", "learn.sampling", "learn.allocation",
        "workflows.sample", "workflows.compare_samples", "workflows.evaluate_samples",
    ),
    "written": (
        "geo.work", "geo.writer", "geo.features", "geo.formats", "geo.symbology",
        "learn.checkpoint", "learn.gallery", "learn.callbacks", "learn.interruption", "learn.fit",
        "workflows.outputs", "workflows.run_folder",
    ),
}  # fmt: skip
"""By the beginning of the name of the module that raises; all else is about maps."""
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
    for raised in found:
        shown.setdefault((raised.message, raised.hint), raised)
    for message, hint in sorted(shown):
        lines.append(f"- {code(message)}" + (f"<br>{code(hint)}" if hint else ""))
    return "\n".join(lines)


def code(text: str) -> str:
    """A text as it is printed, whatever signs are in it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"
