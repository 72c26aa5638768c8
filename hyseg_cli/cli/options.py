"""Options that several commands share, and what all commands have in common.

Also the types that parse their values.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from hyseg_cli.cli.environment import flag_of, take_variables
from hyseg_cli.cli.exit import READER_GONE, ending_in_order, reporting_errors
from hyseg_cli.cli.flags import as_typed, flag_writer
from hyseg_cli.cli.help import write_examples, write_options
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.messages import Console, LogFormat, drop_the_rest, printable
from hyseg_cli.settings.choices import Collar, Precision
from hyseg_cli.startup import ignore_foreign_proj


class BandList(click.ParamType[tuple[int, ...]]):
    """`1,2,3` as a tuple of indexes from 1."""

    name = "bands"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple | list):
            return tuple(int(band) for band in value)
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of band numbers such as 1,2,3", param, ctx)
        return tuple(int(part) for part in parts)


class Bounds(click.ParamType[tuple[float, float, float, float]]):
    """`left,bottom,right,top` as four numbers."""

    name = "bounds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        try:
            left, bottom, right, top = (float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not left,bottom,right,top", param, ctx)
        return left, bottom, right, top


class Part(click.ParamType[tuple[int, int]]):
    """`I/N` as two numbers."""

    name = "part"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdigit() and parts.isdigit()):
            self.fail(f"{value!r} is not a part such as 1/8", param, ctx)
        return int(part), int(parts)


class NumberList(click.ParamType[tuple[float, ...]]):
    """`0` or `0,0,255` or `nan` as a tuple of numbers."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        try:
            return tuple(float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0 or 255,255,255", param, ctx)


_Function = TypeVar("_Function", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
"""A path as `pathlib.Path`; whether it exists is checked when it is opened."""


class HysegGroup(click.Group):
    """A group that suggests a similar command for a wrong name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known, typed = self.list_commands(ctx), args[0]
        if typed not in known and not typed.startswith("-") and not ctx.resilient_parsing:
            near = [repr(name) for name in get_close_matches(typed, known)]
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {typed!r}.{meant}")
        return super().resolve_command(ctx, args)


class HysegCommand(click.Command):
    """A command that prints an error in two lines and exits with its code.

    Adds `--config`, `--quiet`, `--log-format` and `--debug`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                callback=_load_config,
                is_eager=True,
                expose_value=False,
                metavar="FILE",
                help="TOML file of options; options on the command line override it.",
            ),
            click.Option(
                ["-q", "--quiet"],
                is_flag=True,
                expose_value=False,
                callback=_remember,
                help="Print results and errors only.",
            ),
            click.Option(
                ["--log-format"],
                type=click.Choice(get_args(LogFormat)),
                default="text",
                show_default=True,
                is_eager=True,
                expose_value=False,
                callback=_remember,
                help="Messages on stderr: plain text, or one JSON object per line.",
            ),
            click.Option(
                ["--debug"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_remember,
                help="Show the traceback of an error.",
            ),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        def parse() -> list[str]:
            take_variables(ctx)
            return super(HysegCommand, self).parse_args(ctx, args)

        rest: list[str] = reporting_errors(ctx, parse)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        ctx.meta["proj"] = ignore_foreign_proj()
        with ending_in_order():
            return reporting_errors(ctx, lambda: super(HysegCommand, self).invoke(ctx))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self, formatter)
        if ctx.auto_envvar_prefix is not None:
            formatter.write_paragraph()
            formatter.write_text(
                f"Every option has a variable, such as {ctx.auto_envvar_prefix}_LOG_FORMAT=json."
            )
        super().format_epilog(ctx, formatter)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if param.name is not None:
        ctx.meta[param.name] = value


def console() -> Console:
    """The messages of the running command, as its options say."""
    meta = click.get_current_context().meta
    made = Console(
        quiet=bool(meta.get("quiet")),
        log_format=meta.get("log_format", "text"),
        write=flag_writer([click.get_current_context().command]),
    )
    for warning in meta.get("proj", ()):
        made.warn(warning)
    return made


def _load_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Make the values of a TOML file the defaults of the command's options."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageProblemError(f"--config {path}: no such file", hint="Check the path.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageProblemError(
            f"--config {path} is not TOML ({error})", hint="See the examples folder for one."
        ) from error
    known = {
        flag_of(param).removeprefix("--"): param.name
        for param in ctx.command.params
        if isinstance(param, click.Option) and param.name != "config"
    }
    named = {}
    for key, value in values.items():
        name = known.get(key.replace("_", "-"))
        if name is None:
            raise UsageProblemError(
                f"--config {path}: {key!r} is not an option of {ctx.info_name}",
                hint=f"`{ctx.command_path} --help` lists them.",
            )
        named[name] = _tables(value, path.parent) if isinstance(value, dict) else value
    ctx.default_map = {**(ctx.default_map or {}), **named}


def _tables(values: dict[str, Any], folder: Path) -> Any:
    """Tables of an option that is repeated, each with its name and where its paths begin."""
    if not all(isinstance(table, dict) for table in values.values()):
        return values
    return [{**table, "name": name, "folder": folder} for name, table in values.items()]


def default_of(settings: type[Any], name: str) -> Any:
    """The default of a field of a settings class, for the option of the same meaning."""
    field = next(f for f in dataclasses.fields(settings) if f.name == name)
    return field.default


def model_option(function: _Function) -> _Function:
    """`--model`: which network."""
    return click.option(
        "-m",
        "--model",
        type=FILE,
        metavar="MODEL",
        help="Model file, or the name of one (`hyseg models list`).  [default: the built-in model]",
    )(function)


def bands_option(function: _Function) -> _Function:
    """`--band`: which bands to read."""
    return click.option(
        "-b",
        "--band",
        "bands",
        type=BandList(),
        default=(),
        metavar="N,N,...",
        help="Band numbers, from 1, in the order of the model's bands.  [default: by name]",
    )(function)


def class_field_option(settings: type[Any]) -> Callable[[_Function], _Function]:
    """`--class-field`: which column of polygons or points is the class."""
    return click.option(
        "--class-field",
        default=default_of(settings, "class_field"),
        show_default=True,
        help="Column of a vector file that holds the class, by name or id.",
    )


def validity_options(settings: type[Any]) -> Callable[[_Function], _Function]:
    """`--src-nodata` and `--collar`: which pixels of a scene hold no data."""

    def decorate(function: _Function) -> _Function:
        function = click.option(
            "--collar",
            type=click.Choice(get_args(Collar)),
            default=default_of(settings, "collar"),
            show_default=True,
            help="Black or white borders of a scene without nodata, alpha or mask: find them and "
            "leave them empty, or map them.",
        )(function)
        return click.option(
            "--src-nodata",
            type=NumberList(),
            default=(),
            metavar="V[,V...]",
            help="Nodata value of the scene, or one for each band; nan is possible.  "
            "[default: what the scene says]",
        )(function)

    return decorate


def device_option(settings: type[Any]) -> Callable[[_Function], _Function]:
    """`--device`: where the network runs."""
    return click.option(
        "--device",
        default=default_of(settings, "device"),
        show_default=True,
        help="auto, cpu, cuda or cuda:N.",
    )


def gsd_option(settings: type[Any]) -> Callable[[_Function], _Function]:
    """`--gsd`: the pixel size that the network sees."""
    return click.option(
        "--gsd",
        default=default_of(settings, "gsd"),
        show_default=True,
        metavar="auto|native|METRES",
        help="Pixel size that the network sees: auto enlarges coarse scenes to the size that the "
        "model maps best, and shrinks those finer than any it knows; native is the scene's; or a "
        "size such as 0.5m. The map stays on the grid of the scene.",
    )


def precision_option(settings: type[Any]) -> Callable[[_Function], _Function]:
    """`--precision`: the floating-point format of the network."""
    return click.option(
        "--precision",
        type=click.Choice(get_args(Precision)),
        default=default_of(settings, "precision"),
        show_default=True,
        help="Number format of the network; auto measures once which is faster on this machine.",
    )


def overwrite_option(function: _Function) -> _Function:
    """`--overwrite`: replace an output that exists."""
    return click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")(
        function
    )


def out_option(help_text: str) -> Callable[[_Function], _Function]:
    """`--out`: where the result goes."""
    return click.option(
        "-o", "--out", required=True, type=click.Path(path_type=Path), help=help_text
    )


def print_result(text: str) -> None:
    """Write a result to stdout; files, pipes and NO_COLOR get no colours.

    If the reader has closed the pipe, as `head` does after ten lines, the command ends quietly.
    """
    color = False if os.environ.get("NO_COLOR") else None
    try:
        click.echo(printable(as_typed(text)), file=sys.stdout, color=color)
    except BrokenPipeError:
        drop_the_rest(sys.stdout)
        raise click.exceptions.Exit(READER_GONE) from None
