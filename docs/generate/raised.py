"""Every error that the sources can raise, found by reading them: nothing is imported or run.

A message is what stands in the source with the values that are filled in written as `<name>`. Where
a function makes errors from texts that it is given, each place that calls it counts as one error.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from source_texts import assigned, element_of, is_text, name_of, placeholder

ROOT = Path(__file__).resolve().parents[2]

EXIT_CODES = {
    "HysegError": "1",
    "UnusableFileError": "1",
    "UsageProblemError": "2",
    "OutputExistsError": "3",
    "StateMismatchError": "3",
    "ModelMismatchError": "4",
    "CheckFailedError": "5",
    "InterruptedRunError": "130",
    "ConfigError": "network",
    "WeightsUnavailableError": "network",
    "BadParameter": "2",
    "UsageError": "2",
}
"""What an error ends the command with; errors of the network end within the text of another."""

_MOST_WAYS = 24
"""Of writing one message, where parts of it depend on conditions."""


@dataclass(frozen=True, order=True)
class Raised:
    """One message that can be raised, and what it is raised with."""

    code: str
    """The exit code, or `network`."""
    module: str
    """Where it is raised, such as hyseg_cli.geo.raster.raster."""
    message: str
    hint: str
    kind: str
    line: int


@dataclass(frozen=True)
class _Function:
    module: str
    node: ast.FunctionDef

    @property
    def parameters(self) -> list[str]:
        spec = self.node.args
        return [arg.arg for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]


@dataclass(frozen=True)
class _Place:
    """Where an expression stands, and what the parameters around it stand for."""

    module: str
    function: _Function | None
    bound: tuple[tuple[str, ast.expr, _Place], ...] = ()

    @property
    def node(self) -> ast.FunctionDef | None:
        """The function around it, parsed."""
        return self.function and self.function.node

    def value_of(self, name: str) -> tuple[ast.expr, _Place] | None:
        return next(((expr, place) for key, expr, place in self.bound if key == name), None)


class Sources:
    """The sources below some folders, parsed.

    Args:
        modules: Source text by the name of the module.
    """

    def __init__(self, modules: dict[str, str]) -> None:
        self.trees = {name: ast.parse(text) for name, text in modules.items()}
        self.imports = {
            name: {
                (node.module, alias.name)
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            for name, tree in self.trees.items()
        }
        self.functions: dict[str, list[_Function]] = {}
        self.calls: dict[str, list[tuple[ast.Call, _Place]]] = {}
        for name, tree in self.trees.items():
            self._walk(tree, name, None)

    @classmethod
    def of_project(cls) -> Sources:
        """Those of hyseg."""
        found = {}
        for base, package in ((ROOT, "hyseg_cli"), (ROOT / "models", "hyseg_models")):
            for path in sorted((base / package).rglob("*.py")):
                parts = path.relative_to(base).with_suffix("").parts
                found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
        return cls(found)

    def _walk(self, node: ast.AST, module: str, function: _Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.FunctionDef):
                inner = _Function(module, child)
                self.functions.setdefault(child.name, []).append(inner)
            elif isinstance(child, ast.Call) and (name := name_of(child.func)):
                self.calls.setdefault(name, []).append((child, _Place(module, function)))
            self._walk(child, module, inner)

    def errors(self) -> list[Raised]:
        """All of them, in order of exit code and module, each message once for each module."""
        found = {}
        for kind in EXIT_CODES:
            for call, place in self.calls.get(kind, ()):
                if place.module != "hyseg_cli.errors":
                    for raised in self._of_call(kind, call, place):
                        found[raised.code, raised.module, raised.message] = raised
        for call, place in (*self.calls.get("fail", ()), *self.calls.get("require", ())):
            for raised in self._of_short_forms(call, place):
                found[raised.code, raised.module, raised.message] = raised
        return sorted(found.values())

    def _of_short_forms(self, call: ast.Call, place: _Place) -> Iterator[Raised]:
        """`self.fail(message, param, ctx)` of Click, and `require(condition, message)`."""
        if ast.unparse(call.func) == "self.fail":
            kind, text = "BadParameter", call.args[0]
        elif ast.unparse(call.func) == "require" and place.module.startswith("hyseg_models"):
            kind, text = "ConfigError", call.args[1]
        else:
            return
        for message in self._texts(text, place):
            yield Raised(EXIT_CODES[kind], place.module, message, "", kind, call.lineno)

    def _of_call(self, kind: str, call: ast.Call, place: _Place) -> Iterator[Raised]:
        position = 1 if kind == "InterruptedRunError" else 0
        if len(call.args) <= position or (place.function and place.function.node.name == "require"):
            return
        message = call.args[position]
        hint = next((word.value for word in call.keywords if word.arg == "hint"), None)
        for where in self._callers(place, [message, *([hint] if hint else [])]):
            hints = self._texts(hint, where) if hint else [""]
            origin, line = _origin(where, call)
            for text, help_text in zip(
                self._texts(message, where), itertools.cycle(hints), strict=False
            ):
                yield Raised(EXIT_CODES[kind], origin, text, help_text, kind, line)

    def _callers(self, place: _Place, used: list[ast.expr], depth: int = 0) -> Iterator[_Place]:
        """The place itself, or one for each call that gives the function around it its texts."""
        function = place.function
        names = {n.id for expr in used for n in ast.walk(expr) if isinstance(n, ast.Name)}
        if function is None or not names & set(function.parameters) or depth > 3:
            yield place
            return
        calls = [
            (call, where)
            for call, where in self.calls.get(function.node.name, ())
            if self._reaches(call, where, function)
        ]
        given = [(_bind(function, call), call, where) for call, where in calls]
        if not any(is_text(bound.get(name)) for bound, _, _ in given for name in names):
            yield place
            return
        for bound, call, where in given:
            texts = [expr for name, expr in bound.items() if name in names]
            for outer in self._callers(where, texts, depth + 1):
                values = tuple((name, expr, outer) for name, expr in bound.items())
                yield _Place(place.module, function, (*values, ("", call, outer)))

    def _reaches(self, call: ast.Call, where: _Place, function: _Function) -> bool:
        """Whether a call by the name of a function is a call of that function."""
        if isinstance(call.func, ast.Attribute):
            is_method = function.parameters[:1] in (["self"], ["cls"])
            return is_method and self.functions[function.node.name] == [function]
        known = (function.module, function.node.name)
        return where.module == function.module or known in self.imports[where.module]

    # ---- texts --------------------------------------------------------------------------------

    def _texts(self, node: ast.expr, place: _Place) -> list[str]:
        """The ways in which a text may be written."""
        return list(dict.fromkeys(self._ways(node, place, 0)))[:_MOST_WAYS]

    def _ways(self, node: ast.expr, place: _Place, depth: int) -> list[str]:  # noqa: PLR0911 - by kind
        if depth > 8:
            return [placeholder(node)]
        more = depth + 1
        match node:
            case ast.Constant():
                return [str(node.value)]
            case ast.JoinedStr():
                return self._joined(node.values, place, more)
            case ast.FormattedValue():
                return self._ways(node.value, place, more)
            case ast.BinOp(op=ast.Add()):
                return self._joined([node.left, node.right], place, more)
            case ast.IfExp():
                return [*self._ways(node.body, place, more), *self._ways(node.orelse, place, more)]
            case ast.BoolOp(op=ast.Or()):
                return [way for part in node.values for way in self._ways(part, place, more)]
            case ast.Name():
                return self._named(node, place, more)
            case ast.Call(func=ast.Attribute(attr="join"), args=[only]):
                return self._ways(element_of(only, place.node) or node, place, more) if only else []
            case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str(text)))):
                return [re.sub(r"\{[^}]*\}", "<value>", text)]
        return [placeholder(node)]

    def _joined(self, nodes: list[ast.expr], place: _Place, depth: int) -> list[str]:
        ways = [self._ways(part, place, depth) for part in nodes]
        return ["".join(parts) for parts in itertools.islice(itertools.product(*ways), _MOST_WAYS)]

    def _named(self, node: ast.Name, place: _Place, depth: int) -> list[str]:
        if (value := place.value_of(node.id)) is not None:
            return self._ways(value[0], value[1], depth)
        texts = [expr for expr in assigned(place.node, node.id) if is_text(expr, or_choice=True)]
        ways = [way for expr in texts for way in self._ways(expr, place, depth)]
        return ways or [placeholder(node)]


def _origin(place: _Place, call: ast.Call) -> tuple[str, int]:
    """The module and line of the call that gave the text."""
    given = place.value_of("")
    if given is None or not isinstance(given[0], ast.Call):
        return place.module, call.lineno
    return _origin(given[1], given[0])


def _bind(function: _Function, call: ast.Call) -> dict[str, ast.expr]:
    names = function.parameters
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    bound = dict(zip(names, call.args, strict=False))
    return bound | {word.arg: word.value for word in call.keywords if word.arg}
