"""Errors that a user can act on; only `cli.exit` prints them.

Each carries a line that says what is wrong and where, a hint that says what to do, and its exit
code.
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
        # By default, an exception is copied from its positional arguments only.
        return partial(type(self), hint=self.hint), (self.message,)


class UnusableFileError(HysegError):
    """One file is damaged or useless; others may still work (exit 1)."""


class UsageProblemError(HysegError):
    """The command cannot work as typed: a missing input, a value out of range (exit 2)."""

    exit_code = 2


class ElsewhereError(UsageProblemError):
    """The requested area lies outside this scene; it may lie in another one (exit 2)."""


class OutputExistsError(HysegError):
    """The output already exists (exit 3)."""

    exit_code = 3


class StateMismatchError(HysegError):
    """The state of an earlier run does not match this one (exit 3)."""

    exit_code = 3


class ModelMismatchError(HysegError):
    """The input does not fit the model (exit 4)."""

    exit_code = 4


class CheckFailedError(HysegError):
    """A check of the result failed; no file was saved under the final name (exit 5)."""

    exit_code = 5


class InterruptedRunError(HysegError):
    """The run was asked to stop by a signal (exit 130 or 143, as shells have it).

    Args:
        received: The signal.
        message: What was interrupted.
        hint: How to continue.
    """

    def __init__(self, received: Signals, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.received = received
        self.exit_code = 128 + received

    def __reduce__(self) -> tuple[Callable[..., HysegError], tuple[str]]:
        return partial(type(self), self.received, hint=self.hint), (self.message,)
