"""Errors that a user can act on; `cli.main` prints them, nothing else does.

Each carries one line of what and where, one hint of what to type, and the exit code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from signal import Signals


class HysegError(Exception):
    """Something failed while running (exit 1), such as a damaged file."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., HysegError], tuple[str]]:
        # What an exception is made of by default are its positional arguments alone.
        return partial(type(self), hint=self.hint), (self.message,)


class UnusableFileError(HysegError):
    """One file is damaged or holds nothing of use; others may still do (exit 1)."""


class UsageProblemError(HysegError):
    """What was typed cannot be done: a missing input, a value out of range (exit 2)."""

    exit_code = 2


class ElsewhereError(UsageProblemError):
    """The place that was asked for lies beside this scene; it may lie in another (exit 2)."""


class OutputExistsError(HysegError):
    """The output is already there (exit 3)."""

    exit_code = 3


class StateMismatchError(HysegError):
    """What an earlier run left does not go with this one (exit 3)."""

    exit_code = 3


class ModelMismatchError(HysegError):
    """The input does not fit the model (exit 4)."""

    exit_code = 4


class CheckFailedError(HysegError):
    """A check of the result failed; nothing stands under the final name (exit 5)."""

    exit_code = 5


class InterruptedRunError(HysegError):
    """The run was asked to stop by a signal (exit 130 or 143, as shells have it).

    Args:
        received: The signal.
        message: What was going on.
        hint: How to go on.
    """

    def __init__(self, received: Signals, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.received = received
        self.exit_code = 128 + received

    def __reduce__(self) -> tuple[Callable[..., HysegError], tuple[str]]:
        return partial(type(self), self.received, hint=self.hint), (self.message,)
