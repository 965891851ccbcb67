"""`--dry-run`: what a magic would do, as Python that does the same."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from collections.abc import Iterable
from typing import TYPE_CHECKING

from seastream_nb.asking import Call, written

if TYPE_CHECKING:
    from seastream_nb.notebook.magics.session import Session

INDENT = "    "


def program(
    session: Session,
    source: str | None,
    lines: Iterable[str],
    *,
    imports: Iterable[str] = (),
    before: Iterable[str] = (),
    stays: bool = False,
) -> str:
    """Lines that use `streamer`, with what makes it one; `before` stands in front of that.

    Where the connection `stays`, what the lines begin goes on after them.
    """
    connecting = session.python(source)
    needed = {*imports, "import seastream_nb as ss"}
    if connecting.startswith("ss.connect(Path("):
        needed.add("from pathlib import Path")
    head = sorted(needed, key=lambda line: ("seastream_nb" in line, line.startswith("from"), line))
    body = "\n".join(lines)
    if stays:
        using = [f"streamer = {connecting}", body]
    else:
        using = [f"with {connecting} as streamer:", indented(body)]
    whole = [*head, "", *before, *using]
    return "\n".join(whole) + "\n"


def assigned(name: str | None, calls: Iterable[Call]) -> str:
    """One line: calls on the streamer, and the variable that keeps their result.

    >>> assigned("df", [Call("stream", ("ticks",)), Call("to_pandas")])
    "df = streamer.stream('ticks').to_pandas()"
    """
    return (f"{name} = " if name else "") + "streamer" + written(calls)


def indented(code: str) -> str:
    r"""The code one step to the right, but not what is inside its texts.

    >>> indented("a = '''x\ny'''\nb")
    "    a = '''x\ny'''\n    b"
    """
    inside: set[int] = set()
    try:
        begun: list[int] = []
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                inside.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name.endswith("STRING_START"):
                begun.append(token.start[0])
            elif name.endswith("STRING_END"):
                inside.update(range(begun.pop() + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        inside.clear()  # no Python, such as a magic of IPython
    lines = code.split("\n")
    return "\n".join(
        line if number in inside or not line.strip() else INDENT + line
        for number, line in enumerate(lines, 1)
    )


def displaying(code: str) -> str:
    r"""The code with its last expression displayed, as a cell does it and a loop does not.

    >>> displaying("n = len(df)\nn + 1  # one more")
    'n = len(df)\ndisplay(n + 1)  # one more'
    """
    last = ast.parse(code).body[-1:]
    if not last or not isinstance(last[0], ast.Expr):
        return code
    value = last[0].value
    lines = code.encode().split(b"\n")  # columns count bytes
    begin, end = value.lineno - 1, (value.end_lineno or 0) - 1
    # From the end, so that what stands before keeps its place.
    at = value.end_col_offset or 0
    several = isinstance(value, ast.Tuple)  # one thing to display, not several
    lines[end] = lines[end][:at] + b")" * (1 + several) + lines[end][at:]
    at = value.col_offset
    lines[begin] = lines[begin][:at] + b"display(" + b"(" * several + lines[begin][at:]
    return b"\n".join(lines).decode()


def quoted(text: str) -> str:
    r"""The text as Python that shows its lines.

    >>> print(quoted("select *\nfrom ticks\n"))
    '''
    select *
    from ticks
    '''
    """
    text = textwrap.dedent(text).strip("\n")
    plain = all(line.isprintable() for line in text.split("\n"))
    if not plain or "\n" not in text or "\\" in text or "'''" in text:
        return repr(text)
    return f"'''\n{text}\n'''"
