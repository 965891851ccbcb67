"""The body of a cell: Python that runs in the user's namespace. It is never scanned."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

Body = Callable[[], object]


def python_of(shell: Any, source: str) -> str:
    """The body as Python: magics inside it become calls.

    Not by the shell's own way, which takes a single line that begins with a name that is not bound
    yet, and is that of a magic, such as `page`, for that magic.
    """
    text: str = shell.input_transformer_manager.transform_cell(source)
    return text


def compiled(shell: Any, source: str) -> Body:
    """A function that runs the body in an IPython shell and gives the value of its last expression.

    Raises:
        SyntaxError: it is no Python; the place is that in the body.
    """
    text = python_of(shell, source)
    # Known to linecache by this name, so that tracebacks show its lines.
    name = shell.compile.cache(text, raw_code=source)
    tree = shell.transform_ast(shell.compile.ast_parse(text, filename=name))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    statements = shell.compile(tree, name, "exec")
    value = last and shell.compile(ast.Expression(last.value), name, "eval")

    def run() -> object:
        __tracebackhide__ = True
        exec(statements, shell.user_ns)  # noqa: S102 - the user's own code, in the user's cell
        return None if value is None else eval(value, shell.user_ns)  # noqa: S307

    return run
