"""What all algorithms share: a run of hyseg with progress, its errors, and common parameters."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from typing import Any, Sequence

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterString,
    QgsSettings,
)
from qgis.PyQt.QtGui import QIcon

from .form import Form
from .program import ProgramMissingError, clean_environment, find_program
from .results import dress
from .running import Listener, RunCancelledError, RunFailedError, run

PROGRAM_SETTING = "HYSEG_PROGRAM"
"""Name of the setting of Processing with the path of the program."""
DEFAULT_MODEL = "default"
SECONDS_MODELS_ARE_KNOWN = 30.0

_models: dict[tuple[str, ...], tuple[float, list[str]]] = {}


class FeedbackListener(Listener):
    """Reports a run to QGIS.

    Args:
        feedback: QGIS's own.
    """

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback

    def advance(self, percent: float, text: str) -> None:
        self._feedback.setProgress(percent)
        self._feedback.setProgressText(text)

    def note(self, text: str) -> None:
        self._feedback.pushInfo(text)

    def warn(self, text: str) -> None:
        self._feedback.pushWarning(text)

    def is_cancelled(self) -> bool:
        return bool(self._feedback.isCanceled())


class HysegAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that runs a command of hyseg.

    A class names what QGIS shows (`NAME`, `TITLE`, `GROUP`, `HELP`) and the command (`COMMAND`),
    adds its parameters in `add_parameters`, and makes arguments of their values in `arguments`.
    """

    NAME = ""
    TITLE = ""
    GROUP = ""
    HELP = ""
    COMMAND = ""
    ACCEPTED: tuple[int, ...] = (0,)
    """Exit codes that come with a result."""
    NAMED_AFTER = ""
    """Parameter with the raster that the layer which is made is named after."""
    LAYER = "{}"
    """Name of that layer, with a place for the name of the raster."""

    def __init__(self, *, is_opened: bool = False) -> None:
        super().__init__()
        self._is_opened = is_opened

    # ---- what QGIS asks for --------------------------------------------------------------------

    def name(self) -> str:
        return self.NAME

    def displayName(self) -> str:
        return self.TITLE

    def group(self) -> str:
        return self.GROUP

    def groupId(self) -> str:
        return self.GROUP.lower().replace(" ", "")

    def shortHelpString(self) -> str:
        return self.HELP

    def icon(self) -> QIcon:
        return self.provider().icon() if self.provider() else QIcon()

    def createInstance(self) -> HysegAlgorithm:
        # QGIS makes instances when somebody opens the algorithm, not when it starts: only then
        # is it worth asking hyseg which models there are.
        return type(self)(is_opened=True)

    def canExecute(self) -> tuple[bool, str]:
        try:
            program()
        except ProgramMissingError as error:
            return False, str(error)
        return True, ""

    def initAlgorithm(self, configuration: Any = None) -> None:  # noqa: ARG002 - QGIS passes it
        self.add_parameters()
        extra = QgsProcessingParameterString(
            "EXTRA", "More options of hyseg, as they are typed", optional=True
        )
        extra.setHelp(f"See hyseg {self.COMMAND} --help.")
        self.addParameter(advanced(extra))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: Any, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        form = Form(self, parameters, context)
        words = [self.COMMAND, *self.arguments(form), *_split(form.text("EXTRA"))]
        said = self.run_hyseg(words, feedback)
        return {} if said is None else self.results(form, said, feedback)

    # ---- what a class says: sip's classes leave no room for abc's --------------------------------

    def add_parameters(self) -> None:
        """Add the parameters of the form."""
        raise NotImplementedError

    def arguments(self, form: Form) -> list[str]:
        """The arguments of the command."""
        raise NotImplementedError

    def results(self, form: Form, said: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """Values of the outputs: the layer that was made, under its name.

        Args:
            form: The values of the run.
            said: What the command wrote to stdout.
            feedback: QGIS's own.
        """
        feedback.pushInfo(said)
        dress(form.context, form.out(), self.layer_name(form))
        return {"OUTPUT": form.out()}

    def layer_name(self, form: Form) -> str:
        """What the layer that was made is called."""
        return self.LAYER.format(form.layer(self.NAMED_AFTER).name())

    # ---- for classes ---------------------------------------------------------------------------

    def run_hyseg(self, words: Sequence[str], feedback: QgsProcessingFeedback) -> str | None:
        """Run hyseg; None if it was cancelled.

        Raises:
            QgsProcessingException: If there is no program, or it fails.
        """
        try:
            command = [*program(), *words]
            feedback.pushCommandInfo(_as_typed(command))
            return run(command, FeedbackListener(feedback), accepted=self.ACCEPTED)
        except RunCancelledError:
            feedback.pushInfo(
                "Cancelled. Run it again with the same output file to go on: what was finished "
                "is kept, unless the output was a temporary file."
            )
            return None
        except (ProgramMissingError, RunFailedError) as error:
            raise QgsProcessingException(self.explain(error)) from error

    def explain(self, error: Exception) -> str:
        """The text of an error, to be read in QGIS."""
        return str(error)

    def add(self, parameter: QgsProcessingParameterDefinition, help_text: str = "") -> None:
        """Add a parameter with its help."""
        if help_text:
            parameter.setHelp(help_text)
        self.addParameter(parameter)

    def add_model(self, title: str = "Model", *, none: str = "") -> None:
        """Add the choice of a model: a name of those that hyseg lists, or a file.

        Args:
            title: What it is called.
            none: What leaving both empty means; empty if a model is needed.
        """
        by_name = QgsProcessingParameterString("MODEL", title, DEFAULT_MODEL, optional=bool(none))
        names = model_names() if self._is_opened else [DEFAULT_MODEL]
        by_name.setMetadata({"widget_wrapper": {"value_hints": names}})
        self.add(by_name, f"A name that `hyseg models list` shows. {none}".strip())
        self.add(
            QgsProcessingParameterFile(
                "MODEL_FILE", "... or a model file", extension="safetensors", optional=True
            ),
            "A model that was trained here or that somebody sent; it counts before the name.",
        )


def program() -> list[str]:
    """The words that start hyseg.

    Raises:
        ProgramMissingError: If there is none.
    """
    chosen = QgsSettings().value(f"Processing/Configuration/{PROGRAM_SETTING}", "")
    return find_program(str(chosen or ""))


def model_names() -> list[str]:
    """Names of the models that map; the built-in one alone if hyseg cannot be asked."""
    try:
        command = program()
    except ProgramMissingError:
        return [DEFAULT_MODEL]
    known = _models.get(tuple(command))
    if known is not None and time.monotonic() - known[0] < SECONDS_MODELS_ARE_KNOWN:
        return known[1]
    names = _ask_for_models(command) or [DEFAULT_MODEL]
    _models[tuple(command)] = (time.monotonic(), names)
    return names


def forget_models() -> None:
    """Ask again the next time: there may be a new model."""
    _models.clear()


def advanced(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    """The parameter, among those that are hidden at first."""
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def _ask_for_models(command: Sequence[str]) -> list[str]:
    more: dict[str, Any] = {}
    if sys.platform == "win32":
        more["creationflags"] = subprocess.CREATE_NO_WINDOW
    try:
        done = subprocess.run(  # noqa: S603 - a list of words
            [*command, "models", "list", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=clean_environment(),
            timeout=15,
            check=True,
            **more,
        )
        models = json.loads(done.stdout)["models"]
        return [
            model["name"]
            for model in models
            if not model["hidden"] and model.get("has_segmentation", False)
        ]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return []


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise QgsProcessingException(
            f"More options: {text} cannot be read ({error}). Write them as in a shell."
        ) from error


def _as_typed(words: Sequence[str]) -> str:
    """A command as it can be pasted into a shell."""
    return " ".join(shlex.quote(word) for word in words)
