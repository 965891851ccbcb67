"""Replies (RESP2) out of a byte stream that arrives in pieces. No I/O.

A connection puts what it receives into a `ReplyBuffer` and takes complete replies off its front,
saying of each what kind the command asked for. hiredis makes Python objects of plain replies.
Stream entries go to the compiled scanner of `kernel` once that is loaded, and stay bytes.

What a reply announces is not believed: memory is taken for what has arrived. Only hiredis reserves
an array's slots when it sees the header, so a reply that begins with too long an array is refused.
"""

from __future__ import annotations

import enum
import gc
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final, TypeVar, cast

import hiredis

from seastream_nb.errors import ConnectError
from seastream_nb.keys import EntryId
from seastream_nb.redis import kernel
from seastream_nb.redis.kernel import Entries, Scanner
from seastream_nb.redis.receive import LARGEST_BLOCK, ReceiveBuffer

T = TypeVar("T")
# A parser in the making: yields when it needs more bytes, returns the reply.
Parser = Generator[None, None, T]

_CRLF = b"\r\n"
_STAR, _DOLLAR, _MINUS = b"*$-"
_TYPES = b"+-:$*"
# Both ways of reading an array stop at a million elements, seven digits.
_LONG_ARRAY = re.compile(rb"\*\d{7}")
_CUT_ARRAY = re.compile(rb"\*\d{0,6}\Z")
_LINE = re.compile(rb"[-+:][^\n]*\n")
_NUMBER = re.compile(rb"[$*](?:0|[1-9]\d{0,5})")
# Numbers of 20 digits may be too large, and are looked at one by one.
_IDS = re.compile(rb"(?:(?:0|[1-9]\d{0,18})-(?:0|[1-9]\d{0,18}) )*+")


class ProtocolError(ConnectError):
    """The server sent what is no reply, or not the kind of reply that was asked for."""


class Refusal(Exception):
    """An error that the server answered, as a value among the replies; `str()` is its text."""


class ReplyKind(enum.Enum):
    """What a command's reply holds."""

    PLAIN = enum.auto()
    """Any reply, as `bytes`, `int`, `None`, `Refusal` and lists of them."""

    ENTRIES = enum.auto()
    """Of `XRANGE`: `Entries`, or a list as hiredis makes it where `kernel` is not loaded."""

    STREAMS = enum.auto()
    """Of `XREAD` and `XREADGROUP`: a list of (key, entries); empty when nothing came."""


class ReplyBuffer(ReceiveBuffer):
    r"""Received bytes, and the replies they make.

    >>> buffer = ReplyBuffer()
    >>> buffer.get_buffer(-1)[:9] = b":5\r\n-ERR "
    >>> buffer.written(9)
    >>> buffer.next_reply(ReplyKind.PLAIN)
    5
    >>> buffer.next_reply(ReplyKind.PLAIN) is ReplyBuffer.NEED_MORE
    True
    >>> buffer.get_buffer(-1)[:4] = b"no\r\n"
    >>> buffer.written(4)
    >>> buffer.next_reply(ReplyKind.PLAIN)
    Refusal('ERR no')
    """

    NEED_MORE: Final = object()

    def __init__(self) -> None:
        super().__init__()
        self._reader = hiredis.Reader(
            protocolError=ProtocolError, replyError=Refusal, notEnoughData=self.NEED_MORE
        )
        # hiredis by default gives its own buffer back, and asks for it again, at every long reply.
        self._reader.setmaxbuf(LARGEST_BLOCK)
        # Whether hiredis has nothing of the next reply, and the last two bytes that it was given.
        self._at_start = True
        self._last = _CRLF
        self._parser: Parser[Any] | None = None

    def next_reply(self, kind: ReplyKind) -> Any:
        """The next reply, or `NEED_MORE`; then ask again, for the same kind, when more came.

        A refusal is returned, whatever the kind.

        Raises:
            ProtocolError: what came is no reply of this kind. Nothing more can be read.
        """
        if kind is ReplyKind.PLAIN:
            return self._plain()
        if self._parser is None:
            self._parser = self._entries() if kind is ReplyKind.ENTRIES else self._streams()
        try:
            next(self._parser)
        except StopIteration as done:
            self._parser = None
            return done.value
        return self.NEED_MORE

    def close(self) -> None:
        """Nothing more will be read: what came of a reply is forgotten."""
        # The parser refers to this buffer. Only the garbage collector would ever free both, and a
        # link that breaks may leave megabytes half read.
        self._parser = None

    # Plain replies, by hiredis.

    def fill(self, replies: list[Any], most: int) -> None:
        """Append the plain replies that are here, until there are `most`.

        Raises:
            ProtocolError: what came is no reply; those before it were appended.
        """
        while len(replies) < most:
            before = len(replies)
            with _no_garbage_collection():
                # One loop in C: a pipeline is answered by thousands of short replies.
                self._gets(replies, most - before)
            short = len(replies) < most
            if len(replies) > before and not self._ended(short):
                del replies[-1]
                raise ProtocolError("a reply does not end where it said")
            if short and not self._feed():
                return

    def _ended(self, looked_on: bool) -> bool:
        """Note where hiredis stands after a reply; False if that cannot have ended there.

        hiredis does not look at the two bytes that end a string. When it has looked on, it may have
        used up the next reply's type, or an array's header: its first element counts as a start.
        """
        used_up = not self._reader.has_data()
        self._at_start = used_up and self._last == _CRLF
        return self._at_start or not used_up or (looked_on and self._last[-1] in _TYPES)

    def _gets(self, replies: list[Any], most: int) -> None:
        try:
            replies.extend(islice(iter(self._reader.gets, self.NEED_MORE), most))
        except (TypeError, MemoryError) as error:  # a map with a list for a key; a huge array
            raise ProtocolError(f"unreadable reply: {error}") from None

    def _plain(self) -> Any:
        replies: list[Any] = []
        self.fill(replies, 1)
        return replies[0] if replies else self.NEED_MORE

    def _feed(self) -> bool:
        """Give hiredis, which has used up what it has, some more; whether there was any."""
        size = self._first_part() if self._at_start and len(self) else len(self)
        if not size:
            return False
        stop = self._front + size
        self._reader.feed(cast("bytes", self._view), self._front, size)
        self._last = (self._last + self._view[max(self._front, stop - 2) : stop])[-2:]
        self._front = stop
        self._at_start = False
        return True

    def _first_part(self) -> int:
        """How much hiredis may have of the reply that begins here, and of what follows."""
        start, end = self._front, self._end
        if self._view[start] not in _TYPES:
            raise ProtocolError(f"reply type {chr(self._view[start])!r}")
        if _LONG_ARRAY.match(self._view, start, end):
            raise ProtocolError("an array of more than 999999 elements")
        if _CUT_ARRAY.match(self._view, start, end):
            return 0
        # A line alone, such as XACK's number, leaves the next reply to the compiled scanner.
        line = _LINE.match(self._view, start, end)
        return line.end() - start if line else end - start

    def _objects(self) -> Parser[Any]:
        while (reply := self._plain()) is self.NEED_MORE:
            yield
        return reply

    # Stream entries, by the compiled scanner.

    def _entries(self) -> Parser[Entries | list[Any] | Refusal]:
        if (yield from self._scannable()):
            return (yield from self._scan())
        reply = yield from self._objects()
        return reply if isinstance(reply, Refusal) else _checked_entries(reply)

    def _streams(self) -> Parser[list[tuple[bytes, Entries | list[Any]]] | Refusal]:
        if not (yield from self._scannable()):
            reply = yield from self._objects()
            return reply if isinstance(reply, Refusal) else _checked_streams(reply)
        streams: list[tuple[bytes, Entries | list[Any]]] = []
        for _ in range((yield from self._number(_STAR))):
            if (yield from self._number(_STAR)) != 2:
                raise ProtocolError("a stream is no pair of key and entries")
            key = yield from self._string()
            streams.append((key, (yield from self._scan())))
        return streams

    def _scannable(self) -> Parser[bool]:
        """Whether the next reply is an array that the compiled scanner can have."""
        # Behind a plain reply that came with it, hiredis may have the beginning of this one.
        if not (self._at_start and kernel.loaded()):
            return False
        while len(self) < 2:
            yield
        return self._view[self._front] == _STAR and self._view[self._front + 1] != _MINUS

    def _scan(self) -> Parser[Entries]:
        scanner = Scanner((yield from self._number(_STAR)))
        try:
            while not scanner.scan(self._block[self._front : self._end]):
                yield
        except ValueError as error:
            raise ProtocolError(str(error)) from None
        return scanner.entries(self._take(scanner.size))

    def _number(self, kind: int) -> Parser[int]:
        """The number of a line that is a header of this type."""
        while True:
            stop = min(self._front + 9, self._end)
            line, ended, _ = bytes(self._view[self._front : stop]).partition(_CRLF)
            if ended:
                break
            if len(line) == 9:
                raise ProtocolError("a header that does not end")
            yield
        if not _NUMBER.fullmatch(line) or line[0] != kind:
            raise ProtocolError(f"a header {line!r}")
        self._front += len(line) + 2
        return int(line[1:])

    def _string(self) -> Parser[bytes]:
        size = yield from self._number(_DOLLAR)
        while len(self) < size + 2:
            yield
        text = bytes(self._view[self._front : self._front + size + 2])
        if not text.endswith(_CRLF):
            raise ProtocolError("a string does not end where it said")
        self._front += size + 2
        return text[:size]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A long reply is thousands of new lists, and none of them garbage. Looking for some among
    # them, and everything else that a notebook holds, can take longer than parsing.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _checked_entries(reply: Any) -> list[Any]:
    """The entries of a reply that hiredis read; nil is none."""
    if reply is None:
        return []
    try:
        ids = [entry_id for entry_id, _ in reply]
        bodies = [body for _, body in reply if body is not None]
        right = (
            type(reply) is list
            and (_IDS.fullmatch(b" ".join([*ids, b""])) or all(map(_is_id, ids)))
            and all(type(body) is list and not len(body) % 2 for body in bodies)
            and set(map(type, chain.from_iterable(bodies))) <= {bytes}
        )
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ProtocolError("the reply is no array of stream entries")
    return cast("list[Any]", reply)


def _is_id(text: bytes) -> bool:
    return EntryId.parse(text).wire() == text


def _checked_streams(reply: Any) -> list[tuple[bytes, Entries | list[Any]]]:
    """The streams of a reply that hiredis read; nil is none."""
    streams: list[tuple[bytes, Entries | list[Any]]] = []
    if reply is None:
        return streams
    try:
        streams += [(key, _checked_entries(entries)) for key, entries in reply]
        right = type(reply) is list and all(type(key) is bytes for key, _ in streams)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ProtocolError("the reply is no array of streams")
    return streams
