"""How is a Python module broken?  At one place that a seed chooses: a comparison, a condition, a number, a call."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One module, broken at one place.

    Attributes:
        module: path below the root.
        line: where.
        before: the place as it was.
        after: the place as it is.
        text: the whole module.
    """

    module: str
    line: int
    before: str
    after: str
    text: str


def mutants(root: Path, modules: Sequence[str], *, seed: int, count: int) -> Iterator[Mutant]:
    """Draw mutants, each place at most once.

    Args:
        root: of the copy.
        modules: globs below it.
        seed: of the choice.
        count: how many.
    """
    files = sorted(path for pattern in modules for path in root.glob(pattern))
    places = [(path, number) for path in files for number in range(len(_places(ast.parse(path.read_text()))))]
    for path, number in Random(seed).sample(places, min(count, len(places))):
        tree = ast.parse(path.read_text())
        node = _places(tree)[number]
        before = ast.unparse(node)
        _break(node)
        yield Mutant(
            str(path.relative_to(root)), node.lineno, before[:100], ast.unparse(node)[:100], ast.unparse(tree) + "\n"
        )


def _places(tree: ast.Module) -> list[Any]:
    left = {id(inner) for outer in _left_alone(tree) for inner in ast.walk(outer)}
    return [node for node in ast.walk(tree) if _can_break(node) and id(node) not in left]


def _left_alone(tree: ast.Module) -> Iterator[ast.AST]:
    """What does nothing by itself: annotations, decorators as ``dataclass(frozen=True)``."""
    for node in ast.walk(tree):
        yield from getattr(node, "decorator_list", [])
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = [*node.args.args, *node.args.kwonlyargs]
            yield from (argument.annotation for argument in named if argument.annotation is not None)
            if node.returns is not None:
                yield node.returns


def _can_break(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[op, *_]):
            return type(op) in COMPARED
        case ast.BinOp(op=op):
            return type(op) in CALCULATED
        case ast.Return(value=value):
            return value is not None and not (isinstance(value, ast.Constant) and value.value is None)
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float)
        case ast.BoolOp() | ast.If() | ast.Expr(value=ast.Call() | ast.Await()):
            return True
        case _:
            return False


def _break(node: Any) -> None:
    match node:
        case ast.Compare():
            node.ops[0] = COMPARED[type(node.ops[0])]()
        case ast.BinOp():
            node.op = CALCULATED[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        case ast.If():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Return() | ast.Expr():
            node.value = ast.Constant(None)
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1 if value in (0, 1) else value * 2
