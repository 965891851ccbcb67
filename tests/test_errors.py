"""Errors: one tree, importable from the top, one line in a notebook, whole after a pickle."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import seastream_nb as ss
from seastream_nb import errors

TREE = {
    "StreamError": "Exception",
    "ConnectError": "StreamError ConnectionError",
    "AuthError": "StreamError PermissionError",
    "ConfigError": "StreamError ValueError",
    "TimeTypeError": "ConfigError TypeError",
    "StreamUrlError": "StreamError ValueError",
    "StreamKeyError": "StreamError ValueError",
    "StreamNotFound": "StreamError KeyError",
    "GroupNotFound": "StreamNotFound",
    "StreamEnded": "StreamError",
    "StreamReset": "StreamError",
    "ConsumerClosed": "StreamError",
    "ProducerClosed": "StreamError",
    "AlreadyAnchored": "StreamError",
    "NotAnchored": "StreamError",
    "CommitNotAllowed": "StreamError",
    "AckNotAllowed": "StreamError",
    "NotSent": "StreamError",
    "MaybeSent": "StreamError",
    "QueueFull": "StreamError",
    "ReadOnlyError": "StreamError PermissionError",
    "TooLarge": "StreamError MemoryError",
    "DecodeError": "StreamError ValueError",
    "ServerError": "StreamError",
    "FileError": "StreamError OSError",
    "FileFormatError": "FileError",
    "ExportExists": "FileError",
    "Unsupported": "StreamError NotImplementedError",
}


def error_classes() -> dict[str, type[errors.StreamError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.StreamError)
    }


def made(kind: type[errors.StreamError], text: str) -> errors.StreamError:
    if issubclass(kind, errors.DecodeError):
        return kind(text, entry_id="5-0", column="price")
    if issubclass(kind, errors.FileFormatError):
        return kind(text, offset=17)
    return kind(text)


def test_the_tree_is_the_documented_one() -> None:
    assert set(error_classes()) == set(TREE)
    for name, bases in TREE.items():
        documented = tuple(
            getattr(errors, base, None) or getattr(builtins, base) for base in bases.split()
        )
        assert getattr(errors, name).__bases__ == documented


@pytest.mark.parametrize("name", TREE)
def test_each_error_is_importable_from_the_top(name: str) -> None:
    assert getattr(ss, name) is getattr(errors, name)


@pytest.mark.parametrize("kind", error_classes().values(), ids=lambda kind: kind.__name__)
def test_an_error_shows_its_sentence_and_survives_pickling_and_copying(
    kind: type[errors.StreamError],
) -> None:
    error = made(kind, "reading 'ticks': it broke")

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error) == "reading 'ticks': it broke"
        assert vars(again) == vars(error)


def test_each_error_says_what_it_is_for() -> None:
    assert [kind for kind in error_classes().values() if not inspect.getdoc(kind)] == []


@pytest.fixture
def shell() -> InteractiveShell:
    return InteractiveShell()


@pytest.mark.parametrize("kind", error_classes().values(), ids=lambda kind: kind.__name__)
def test_ipython_shows_one_line_and_the_cell_fails(
    shell: InteractiveShell, kind: type[errors.StreamError]
) -> None:
    shell.user_ns["error"] = made(kind, "reading 'ticks':\nit broke")

    with capture_output() as shown:
        result = shell.run_cell("raise error")

    assert shown.stdout.strip() == f"{kind.__name__}: reading 'ticks': it broke"
    assert result.error_in_exec is shell.user_ns["error"]


def test_ipython_shows_one_masked_line_for_a_failed_connect(shell: InteractiveShell) -> None:
    with capture_output() as shown:
        shell.run_cell(
            "import seastream_nb as ss\nss.connect('redis://ana:canary@127.0.0.1:1/2', timeout=5)"
        )

    assert shown.stdout.strip() == (
        "ConnectError: cannot connect to redis://ana:***@127.0.0.1:1/2: Connection refused"
    )
