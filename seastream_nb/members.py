"""Members of a facade made of the core's: one line a method, with the core's full signature.

A facade object has its core in `_core`; `next = blocking(Core.next)` is a method that runs
`Core.next` on the I/O thread and waits.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from seastream_nb.portal import bridge, iterate, iterate_awaiting, run

T = TypeVar("T")
V = TypeVar("V")
M = TypeVar("M", bound=Callable[..., Any])
P = ParamSpec("P")
Core = TypeVar("Core")

# How the core's annotations say what a call comes to, or each step of a loop.
_GIVEN = re.compile(r"Coroutine\[Any, Any, (?P<result>.*)\]|AsyncGenerator\[(?P<item>.*), None\]")

Method = Callable[Concatenate[Core, P], T]
Coroutines = Callable[Concatenate[Core, P], Coroutine[Any, Any, T]]
Generators = Callable[Concatenate[Core, P], AsyncGenerator[T, None]]


def _as_it_is(result: Any) -> Any:
    return result


def _shown(method: M, *, gives: str | None = None, each: str = "AsyncIterator") -> M:
    """The method, whose signature is the facade's: `self`, and what the caller is given."""
    core = signature(method)
    parameters = [*core.parameters.values()]
    if parameters:
        parameters[0] = parameters[0].replace(name="self", annotation=Parameter.empty)
    found = _GIVEN.fullmatch(str(core.return_annotation))
    if gives is None and found is not None:
        gives = found["result"] or f"{each}[{found['item']}]"
    cast("Any", method).__signature__ = core.replace(
        parameters=parameters, return_annotation=gives or core.return_annotation
    )
    return method


def _method(core_method: Method[Core, P, Any], cross: Callable[[Any], T]) -> Method[Any, P, T]:
    name = core_method.__name__

    @wraps(core_method)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # By name, so that a facade can be written against a protocol or a base class.
        return cross(getattr(self._core, name)(*args, **kwargs))

    return _shown(method, each="Iterator" if cross is iterate else "AsyncIterator")


def blocking(core_method: Coroutines[Core, P, T]) -> Method[Any, P, T]:
    """A facade method that runs the core's coroutine method and waits, as `run` does."""
    return _method(core_method, run)


def awaiting(core_method: Coroutines[Core, P, T]) -> Coroutines[Any, P, T]:
    """A facade method that awaits the core's coroutine method, as `bridge` does."""
    cross: Coroutines[Any, P, T] = _method(core_method, bridge)

    @wraps(cross)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await cross(self, *args, **kwargs)

    return method


@overload
def blocking_call(function: Coroutines[Core, P, T]) -> Method[Any, P, T]: ...
@overload
def blocking_call(
    function: Coroutines[Core, P, T], into: Callable[[T], V]
) -> Method[Any, P, V]: ...
def blocking_call(
    function: Coroutines[Core, P, Any], into: Callable[[Any], Any] = _as_it_is
) -> Method[Any, P, Any]:
    """A facade method that is a function of the core, out of a later room than the core's.

    `into` makes what it gives a thing of the facade, on the caller's thread.
    """

    @wraps(function)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        call = function(self._core, *args, **kwargs)
        del args, kwargs  # a traceback that shows variables must not show a password
        return into(run(call))

    return _shown(method, gives=None if into is _as_it_is else into.__name__)


@overload
def awaiting_call(function: Coroutines[Core, P, T]) -> Coroutines[Any, P, T]: ...
@overload
def awaiting_call(
    function: Coroutines[Core, P, T], into: Callable[[T], V]
) -> Coroutines[Any, P, V]: ...
def awaiting_call(
    function: Coroutines[Core, P, Any], into: Callable[[Any], Any] = _as_it_is
) -> Coroutines[Any, P, Any]:
    """The same, to be awaited."""

    @wraps(function)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        call = function(self._core, *args, **kwargs)
        del args, kwargs
        return into(await bridge(call))

    return _shown(method, gives=None if into is _as_it_is else into.__name__)


def blocking_iter(
    core_method: Generators[Core, P, T],
) -> Method[Any, P, Generator[T, None, None]]:
    """A facade method that gives a plain generator over the core's, as `iterate` does."""
    return _method(core_method, iterate)


def awaiting_iter(core_method: Generators[Core, P, T]) -> Generators[Any, P, T]:
    """A facade method that gives an asynchronous generator, as `iterate_awaiting` does."""
    return _method(core_method, iterate_awaiting)
