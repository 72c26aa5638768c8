"""Frozen records read from JSON or TOML, with errors that name the key."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal, TypeVar

_Record = TypeVar("_Record")


class ConfigError(ValueError):
    """A configuration that cannot describe a network; the message names the key."""


def require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `ConfigError` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def build_record(cls: type[_Record], values: Any, path: str = "") -> _Record:
    """A record of class `cls` from nested dictionaries.

    Raises:
        ConfigError: If a key is unknown or a value has the wrong type; `path` stands before it.
    """
    require(isinstance(values, dict), f"{path or 'configuration'}: expected a table of keys")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    require(not unknown, f"unknown key {path}{''.join(unknown[:1])}")
    parts = {key: _convert(hints[key], value, path + key) for key, value in values.items()}
    return cls(**parts)


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value`, read from JSON or TOML, as the annotated type `hint`."""
    if dataclasses.is_dataclass(hint):
        return build_record(typing.cast("type[Any]", hint), value, path + ".")
    if typing.get_origin(hint) is tuple:
        require(isinstance(value, list | tuple), f"{path}: expected a list")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, path) for entry in value)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        require(value in choices, f"{path}: {value!r} is not one of {', '.join(map(str, choices))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, hint) and isinstance(value, bool) == (hint is bool)
    require(fits, f"{path}: expected {hint.__name__}, not {value!r}")
    return value
