"""Formulas as text: `(x+y)*z` with x=-2 becomes a computation graph. No code is ever evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from striate.textbook.arrays import TextbookError
from striate.textbook.graph import Node, apply

FUNCTIONS = ("exp", "log", "max", "relu", "sigmoid", "sum", "tanh")
_BINARY = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@",
}  # fmt: skip


def parse(expression: str, values: Mapping[str, ArrayLike]) -> Node:
    """The graph of an expression such as `sum(relu(w @ x)) + 0.1`.

    Only numbers, the names in `values`, + - * / ** @ and FUNCTIONS are understood; anything else
    raises TextbookError that points at the column.
    """
    expression = " ".join(expression.split())
    variables = {name: Node(value, name) for name, value in values.items()}

    def refuse(at: Any, what: str) -> TextbookError:
        before = expression.encode()[: at.col_offset].decode(errors="ignore")
        return _pointing(expression, len(before), what)

    def constant(at: ast.AST, number: float) -> Node:
        try:
            return Node(float(number), constant=True)
        except (OverflowError, TextbookError):
            raise refuse(at, "this number is too large") from None

    def build(at: ast.AST) -> Node:
        match at:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return constant(at, number)
            case ast.Name(id=name) if name in variables:
                return variables[name]
            case ast.Name(id=name):
                known = ", ".join(variables) or "none"
                raise refuse(at, f"no value for '{name}' (given: {known}); add {name}=NUMBER")
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                node = build(inner)
                return Node(-node.value, constant=True) if node.constant else -node
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return build(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return placed(at, _BINARY[type(op)], left, right)
            case ast.BinOp(op=ast.BitXor()):
                raise refuse(at, "^ is not a power here; write **")
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                wanted = 2 if name == "max" else 1
                if len(args) != wanted:
                    raise refuse(at, f"{name} takes {wanted} argument{'s' * (wanted > 1)}")
                return placed(at, name, *args)
            case ast.Call(func=ast.Name(id=name)):
                raise refuse(at, f"no function '{name}'; known: {', '.join(FUNCTIONS)}")
        raise refuse(at, "not understood; use numbers, names, + - * / ** @ and functions")

    def placed(at: ast.AST, operation: str, *inputs: ast.AST) -> Node:
        nodes = [build(part) for part in inputs]
        try:
            return apply(operation, *nodes)
        except TextbookError as error:
            raise refuse(at, str(error)) from None

    try:
        root = build(ast.parse(expression, mode="eval").body)
    except SyntaxError as error:
        if not error.offset:
            raise _pointing(expression, len(expression), "something is missing here") from None
        raise _pointing(expression, error.offset - 1, error.msg) from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, TextbookError):
            raise
        raise TextbookError(f"the expression is too long: {len(expression)} characters") from None
    used = {node.name for node in root.order()}
    for name in [name for name in variables if name not in used]:
        raise TextbookError(f"{name} is given, but the expression has no {name}: {expression}")
    return root


def parse_value(text: str, where: str) -> list[Any] | float:
    """`-2`, `1e-3` or `[[1, 2], [3, 4]]`. Raises TextbookError."""

    def value(at: ast.AST) -> Any:
        match at:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -value(inner)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [value(part) for part in parts]
        raise ValueError

    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError):
        raise TextbookError(
            f"'{where}': expected a number or a list of numbers, such as x=-2 or w=[[1,2],[3,4]]"
        ) from None


def _pointing(expression: str, column: int, what: str) -> TextbookError:
    return TextbookError(f"column {column + 1}: {what}\n  {expression}\n  {' ' * column}^")
