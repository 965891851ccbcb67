"""What to say of a stream that is not there: a read gives an empty result, by contract."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seastream_nb.errors import StreamError, StreamNotFound
from seastream_nb.notebook.display import brief

if TYPE_CHECKING:
    import seastream_nb as ss


def note_missing(streamer: ss.Streamer, keys: Iterable[str]) -> None:
    """Print a line for each of the streams that does not exist, with the key that is closest."""
    for key in keys:
        try:
            streamer[key].info()
        except StreamNotFound:
            sys.stdout.write(f"there is no stream {brief(repr(key))}{_closest(streamer, key)}\n")
        except StreamError:
            pass  # what is not known is not said, such as what the ACL denies


@contextmanager
def suggesting(streamer: ss.Streamer, key: str) -> Iterator[None]:
    """Name the closest key where the stream is not there."""
    try:
        yield
    except StreamNotFound as error:
        closest = _closest(streamer, key)
        if not closest:
            raise
        raise type(error)(f"{error}{closest}") from error


def _closest(streamer: ss.Streamer, key: str) -> str:
    # As the Tab key asks for them: without waiting long, and without raising.
    keys = streamer._ipython_key_completions_()
    close = difflib.get_close_matches(key, keys, n=1)
    return f"; did you mean {brief(repr(close[0]))}?" if close else ""
