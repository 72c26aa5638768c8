"""How a command ends: done, with an error in two lines, by a signal, or on a closed pipe."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hyseg_cli.cli.flags import flag_writer
from hyseg_cli.errors import HysegError, InterruptedRunError
from hyseg_cli.messages import drop_the_rest, json_line, printable

INTERRUPTED = 130
TERMINATED = 143
READER_GONE = 141
"""The exit code that shells report for a program that wrote to a closed pipe."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); it cleans up first."""


SIGNALS = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
AGAIN = 0.05
"""Seconds until a signal whose exception was lost is sent again."""


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that it unwinds as Ctrl-C does."""

    def end(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        with _losing_no_signal():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _losing_no_signal() -> Iterator[None]:
    """Send a signal again if it comes where Python drops exceptions.

    It does so in finalisers and in callbacks of weak references; the command would go on.
    """
    before, waiting = sys.unraisablehook, []

    def again(lost: sys.UnraisableHookArgs) -> None:
        number = SIGNALS.get(lost.exc_type)
        if number is None:
            before(lost)
            return
        waiting.append(threading.Timer(AGAIN, signal.raise_signal, (number,)))
        waiting[-1].start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in waiting:
            timer.cancel()


def reporting_errors(ctx: click.Context, act: Callable[[], Any]) -> Any:
    """The result of `act`; an error is printed on stderr and ends the command with its code."""
    try:
        return act()
    except InterruptedRunError as error:
        _tell(ctx, "warning", f"{error.message}; {error.hint}")
        ctx.exit(error.exit_code)
    except HysegError as error:
        if ctx.meta.get("debug"):
            raise
        _tell(ctx, "error", error.message, error.hint)
        ctx.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell(ctx, "warning", "Interrupted.")
        ctx.exit(INTERRUPTED)
    except Terminated:
        _tell(ctx, "warning", "Terminated.")
        ctx.exit(TERMINATED)
    except click.ClickException as error:
        if not _logs_json(ctx):
            raise
        _tell(ctx, "error", error.format_message(), f"See `{ctx.command_path} --help`.")
        ctx.exit(error.exit_code)
    except (click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if ctx.meta.get("debug"):
            raise
        _tell(ctx, "error", *_described(error))
        ctx.exit(1)


def _described(error: Exception) -> tuple[str, str]:
    """Message and hint for an error that nobody has given words to.

    What the system or GDAL refuses is not a defect of hyseg, wherever it comes to light: a share
    that goes away, memory that is used up, a file that is damaged where nobody looked.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return (
            f"there is not enough memory ({text or 'the system grants no more'})",
            "Close other programs, or take a smaller part or --max-memory where there is one.",
        )
    if isinstance(error, OSError) and error.strerror and not isinstance(error, BrokenPipeError):
        named = "" if error.filename is None else f"{error.filename}: "
        return (
            f"{named}the system refuses ({error.strerror})",
            "Check the permissions and the free space, and that the disk or share is still there.",
        )
    package = type(error).__module__.partition(".")[0]
    if package == "pyproj":
        return (
            f"coordinates cannot be transformed ({text})",
            "The CRS of a file may be a local one, or damaged: `hyseg info FILE` shows it.",
        )
    if package in ("rasterio", "pyogrio"):
        return (
            f"a file cannot be read or written ({text})",
            "It may be damaged: `rio info FILE` and `ogrinfo FILE` show what GDAL reads from it.",
        )
    return (
        f"unexpected {type(error).__name__}: {error}",
        "This is a defect of hyseg; run again with --debug and report what it prints.",
    )


def _tell(ctx: click.Context, level: str, message: str, hint: str = "") -> None:
    """How a run ended, in the format of the log."""
    write = flag_writer([ctx.command])
    message, hint = write(message), write(hint)
    if _logs_json(ctx):
        more = {"hint": hint} if hint else {}
        text = json_line(level, message, **more)
    elif level == "error":
        text = printable(f"Error: {message}\nHint: {hint}")
    else:
        text = printable(message)
    try:
        click.echo(text, err=True)
    except BrokenPipeError:
        drop_the_rest(sys.stderr)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print what a library warns of in the format of the log, without the code it comes from."""
    text = " ".join(str(message).split())
    ctx = click.get_current_context(silent=True)
    is_json = ctx is not None and _logs_json(ctx)
    click.echo(json_line("warning", text) if is_json else f"Warning: {text}", err=True)


def _logs_json(ctx: click.Context) -> bool:
    return ctx.meta.get("log_format") == "json"
