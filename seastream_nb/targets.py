"""Where a replay goes: the URLs of streams, and producers at them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from seastream_nb.endpoints import ProducerEndpoint
from seastream_nb.errors import StreamError, StreamUrlError
from seastream_nb.options import ConnectOptions
from seastream_nb.streamer import open_streamer

# Of a producer that is opened for one replay: what waits when it is interrupted is still sent.
QUEUE_BYTES = 8 * 2**20


def opened_at(
    target: object, options: ConnectOptions
) -> AbstractAsyncContextManager[ProducerEndpoint]:
    """A producer at a URL, for as long as it is used. Only closures hold the URL."""
    if not isinstance(target, str | Path):
        raise TypeError(f"replay_to() takes a Producer or a URL, not {type(target).__name__}")
    url, key = split_stream(target) if isinstance(target, str) else (target, None)
    given = {
        "message_field": options.message_field,
        "timestamp_format": options.timestamp_format,
        "timeout": options.timeout,
        "create": "if_missing",  # as a server makes a stream that is sent to
    }
    return _connected(lambda: open_streamer(url, given), key)


@asynccontextmanager
async def _connected(
    opening: Callable[[], Coroutine[Any, Any, Any]], key: str | None
) -> AsyncGenerator[ProducerEndpoint, None]:
    streamer = await opening()
    try:
        yield await streamer.producer(key, max_queue=QUEUE_BYTES)
    except BaseException:
        with suppress(StreamError):  # what failed first is told
            await streamer.close()
        raise
    await streamer.close()


def split_stream(url: str) -> tuple[str, str | None]:
    """The URL of a server, and the stream key after it: `redis://host[:port][/db][/key]`.

    A number alone is a database. After a socket, and after a file, only a key can follow.

    >>> split_stream("redis://ana:s3cret@db:6380/2/ticks")
    ('redis://ana:s3cret@db:6380/2', 'ticks')
    >>> split_stream("redis://localhost/ticks"), split_stream("redis://localhost/2")
    (('redis://localhost', 'ticks'), ('redis://localhost/2', None))
    >>> split_stream("file:///week.ss/ticks"), split_stream("file:///week.ss")
    (('file:///week.ss', 'ticks'), ('file:///week.ss', None))

    Raises:
        StreamUrlError: it has more parts.
    """
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    place, mark, options = place.partition("?")
    if scheme == "redis+unix":
        path, key = _after_socket(place)
    elif scheme in ("redis", "rediss"):
        path, key = _after_host(place)
    elif scheme == "file":
        path, key = _after_file(place)
    else:
        return url, None
    return f"{scheme}{separator}{credentials}{at}{path}{mark}{options}", key


def _after_host(place: str) -> tuple[str, str | None]:
    host, *parts = place.split("/")
    parts = [part for part in parts if part]
    key = parts.pop() if len(parts) > 1 or (parts and not parts[-1].isdigit()) else None
    if len(parts) > 1 or not all(map(str.isdigit, parts)):
        raise StreamUrlError(
            "the URL of a stream is that of its server and a key: write redis://host/key, or "
            "redis://host/db/key with the number of a database"
        )
    return "/".join([host, *parts]), key


def _after_socket(place: str) -> tuple[str, str | None]:
    path, _, key = place.rpartition("/")
    return (path, key) if path and Path(unquote(path)).is_socket() else (place, None)


def _after_file(place: str) -> tuple[str, str | None]:
    path, _, key = place.rpartition("/")
    there = Path(unquote(path))
    is_file = there.is_file() or (there.suffix == ".ss" and not there.is_dir())
    return (path, key) if is_file else (place, None)
