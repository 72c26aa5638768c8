"""Texts as expressions of Python write them: what may be one, and what stands for values in it."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator


def is_text(node: ast.expr | None, *, or_choice: bool = False) -> bool:
    """Whether an expression is a text of several words; with `or_choice`, or one of two."""
    if or_choice and isinstance(node, ast.IfExp):
        return is_text(node.body, or_choice=True) or is_text(node.orelse, or_choice=True)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return is_text(node.left) or is_text(node.right)
    is_plain = isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    return is_plain or isinstance(node, ast.JoinedStr)


def assigned(function: ast.FunctionDef | None, name: str) -> Iterator[ast.expr]:
    """What a local name is given in a function."""
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            yield node.value
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple | ast.List):
            yield from _looped(node, name)


def _looped(loop: ast.For, name: str) -> Iterator[ast.expr]:
    """What a name is given by a loop over values that stand in the source."""
    values = loop.iter.elts if isinstance(loop.iter, ast.Tuple | ast.List) else []
    if isinstance(loop.target, ast.Name) and loop.target.id == name:
        yield from values
    elif isinstance(loop.target, ast.Tuple):
        names = [target.id if isinstance(target, ast.Name) else "" for target in loop.target.elts]
        for value in values:
            if isinstance(value, ast.Tuple) and name in names:
                yield value.elts[names.index(name)]


def element_of(node: ast.expr, function: ast.FunctionDef | None) -> ast.expr | None:
    """An element of what is joined, if it stands in the source."""
    if isinstance(node, ast.ListComp | ast.GeneratorExp) and is_text(node.elt):
        return node.elt
    if not isinstance(node, ast.Name) or function is None:
        return None
    for value in assigned(function, node.id):
        if (element := element_of(value, function)) is not None:
            return element
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{node.id}.append":
            return call.args[0]
    return None


def name_of(node: ast.expr) -> str:
    """The last name in `a.b.name`, or nothing."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def placeholder(node: ast.expr) -> str:
    """A value that is filled in, by the last name in its expression."""
    while not isinstance(node, ast.Name | ast.Attribute):
        if isinstance(node, ast.BinOp):
            node = node.left
        elif isinstance(node, ast.Subscript | ast.Starred):
            node = node.value
        elif isinstance(node, ast.GeneratorExp | ast.ListComp):
            node = node.generators[0].iter
        elif isinstance(node, ast.Call):
            node = _called_on(node)
        else:
            return "<value>"
    name = name_of(node).strip("_")
    return f"<{name.replace('_', ' ')}>" if name else "<value>"


def _called_on(call: ast.Call) -> ast.expr:
    """What a call is about: `sorted(names)` and `", ".join(names)` are about the names."""
    is_method = isinstance(call.func, ast.Attribute)
    about_argument = isinstance(call.func, ast.Name) or name_of(call.func) == "join"
    if call.args and about_argument:
        return call.args[0]
    if is_method and name_of(call.func) in {"strip", "tolist", "lower", "items", "values"}:
        return typing.cast("ast.Attribute", call.func).value
    return call.func
