"""Errors that a user can act on; `cli.main` prints them, nothing else does.

Each carries one line of what and where, one hint of what to type, and the exit code.
"""

from __future__ import annotations


class HysegError(Exception):
    """Something failed while running (exit 1), such as a damaged file."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnusableFileError(HysegError):
    """One file is damaged or holds nothing of use; others may still do (exit 1)."""


class UsageProblemError(HysegError):
    """What was typed cannot be done: a missing input, a value out of range (exit 2)."""

    exit_code = 2


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
