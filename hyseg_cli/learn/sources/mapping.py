"""A legend of a data set, expressed in the classes of the common one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.sources.label_sets import ClassSet, LabelSets
from hyseg_cli.legend import NODATA_ID, Legend

Rules = Mapping[str, Sequence[str]]
"""Of classes of a source, by name or id: the classes of the common legend that each may be."""

ANY = "any"
"""What a class is that says nothing: its pixels are left out."""

NOT = "not "
"""Before a class of the common legend: every other one."""


@dataclass(frozen=True)
class SourceClasses:
    """What the classes of one source stand for."""

    source: str
    """Name of the source."""
    legend: Legend
    """Of its labels."""
    sets: tuple[ClassSet, ...]
    """Channels of the common legend that each of its classes allows; all where it says nothing."""
    classes: int
    """Number of classes of the common legend."""

    def encoding(self, labels: LabelSets) -> npt.NDArray[np.uint8]:
        """The label value of each channel of the source's legend: uint8 (256,), 255 for none."""
        table = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
        table[: len(self.sets)] = [labels.label_of(allowed) for allowed in self.sets]
        return table

    @property
    def distinguished(self) -> dict[ClassSet, str]:
        """The sets that its labels tell apart, each with the names of the classes that it is."""
        names: dict[ClassSet, list[str]] = {}
        for name, allowed in zip(self.legend.names, self.sets, strict=True):
            if len(allowed) < self.classes:
                names.setdefault(allowed, []).append(name)
        return {allowed: " or ".join(found) for allowed, found in names.items()}


def match_classes(source: str, own: Legend, common: Legend, rules: Rules) -> SourceClasses:
    """What each class of a source may be.

    A class without a rule is the one of its name, whatever the case. A rule names one class of
    the common legend, several, `not` one of them, or `any`.

    Args:
        source: Name of the source, for errors.
        own: Its legend.
        common: The classes that are learned or compared.
        rules: What its classes may be.

    Raises:
        UsageProblemError: If a rule names a class that neither legend has, two rules are for one
            class, a class is in no rule and not in the common legend, or nothing is left to learn.
    """
    rule_of = _rules_by_channel(source, own, rules)
    channel_of = {_key(name): channel for channel, name in enumerate(common.names)}
    sets = []
    for channel, name in enumerate(own.names):
        if channel in rule_of:
            sets.append(_allowed(source, name, rule_of[channel], common))
        elif _key(name) in channel_of:
            sets.append(frozenset({channel_of[_key(name)]}))
        else:
            raise UsageProblemError(
                f"source {source}: it is not said what its class {name!r} is",
                hint=f'Add a line such as "{name}" = "{common.names[0]}" to its [classes]; '
                f'"{ANY}" leaves the class out.',
            )
    found = SourceClasses(source, own, tuple(sets), len(common))
    if not found.distinguished:
        raise UsageProblemError(
            f"source {source}: none of its classes says anything of {', '.join(common.names)}",
            hint=f'Map one of them to fewer classes than "{ANY}", or leave the source out.',
        )
    return found


def renamed(rules: Rules, own: Legend, merging: Mapping[str, str | None]) -> Rules:
    """Rules for a common legend whose classes were renamed, merged or left out.

    A class without a rule gets one if its name is among them. What is left out is no longer among
    the classes that another may be; a class that may be nothing else says nothing.
    """
    new_names = {_key(old): new for old, new in merging.items()}
    ruled = {_key(name) for name in rules} | {
        _key(entry.name) for entry in own.classes if str(entry.id) in rules
    }
    by_name = {name: [name] for name in own.names if _key(name) in new_names.keys() - ruled}
    found = {}
    for name, targets in {**rules, **by_name}.items():
        kept = [new_names.get(_key(target), target) for target in targets]
        found[name] = list(dict.fromkeys(target for target in kept if target)) or [ANY]
    return found


def _key(name: str) -> str:
    return name.strip().casefold()


def _rules_by_channel(source: str, own: Legend, rules: Rules) -> dict[int, Sequence[str]]:
    channel_of = {str(entry.id): channel for channel, entry in enumerate(own.classes)}
    channel_of |= {_key(entry.name): channel for channel, entry in enumerate(own.classes)}
    found: dict[int, Sequence[str]] = {}
    first: dict[int, str] = {}
    for key, targets in rules.items():
        channel = channel_of.get(_key(key))
        if channel is None:
            raise UsageProblemError(
                f"source {source}: its labels have no class {key!r}",
                hint=f"Its classes are {_listed(own)}.",
            )
        if channel in found:
            raise UsageProblemError(
                f"source {source}: {first[channel]!r} and {key!r} are rules for one class, "
                f"{own.names[channel]}",
                hint="Keep one of them.",
            )
        found[channel], first[channel] = targets, key
    return found


def _allowed(source: str, name: str, targets: Sequence[str], common: Legend) -> ClassSet:
    """The channels that a rule names."""
    channel_of = {_key(entry): channel for channel, entry in enumerate(common.names)}
    everything = frozenset(range(len(common)))
    allowed: set[int] = set()
    for target in targets:
        key = _key(target)
        negated = _key(key.removeprefix(NOT)) if key.startswith(NOT) else None
        if key in channel_of:
            found = frozenset({channel_of[key]})
        elif key == ANY:
            found = everything
        elif negated in channel_of:
            found = everything - {channel_of[negated]}
        else:
            raise UsageProblemError(
                f"source {source}: {name!r} is mapped to {target!r}, "
                "which is not a class of the common legend",
                hint=f"Its classes are {', '.join(common.names)}; "
                f'"{NOT}{common.names[0]}" and "{ANY}" are possible, too.',
            )
        if allowed & found:
            raise UsageProblemError(
                f"source {source}: the rule for {name!r} names "
                f"{common.names[min(allowed & found)]!r} twice",
                hint="Name each class once.",
            )
        allowed |= found
    if not allowed:
        raise UsageProblemError(
            f"source {source}: the rule for {name!r} is empty",
            hint=f'Name the classes that it may be, or "{ANY}" to leave it out.',
        )
    return frozenset(allowed)


def _listed(legend: Legend) -> str:
    return ", ".join(f"{entry.id} {entry.name}" for entry in legend.classes)
