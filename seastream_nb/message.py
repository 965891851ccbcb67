"""Messages and their headers: one payload, and where and when it stands in its stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from seastream_nb.errors import DecodeError
from seastream_nb.keys import EntryId

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where entries live: the stream's name, the shard, the Redis key and the unit of its ids.

    `unit_ns` is how many nanoseconds one tick of an id's first part lasts: 1,000,000 in the
    usual millisecond format, 1 in SeaStreamer's nanosecond format.
    """

    stream: str
    shard: int
    key: bytes
    unit_ns: int = NS_PER_MS


def utc_datetime(ns: int) -> datetime | None:
    """The UTC time of a nanosecond count; None beyond the years that `datetime` knows.

    >>> utc_datetime(1_700_000_000_123_456_789)
    datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.timezone.utc)
    >>> utc_datetime(2**80) is None
    True
    """
    try:
        return EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return None


class _Header:
    """What a message and its header share: the place in the stream."""

    __slots__ = ("_id", "origin")
    origin: Origin
    _id: EntryId | bytes

    @property
    def entry_id(self) -> EntryId:
        """The entry's id as a pair of numbers."""
        # Parsed at the first question: a loop that only wants payloads never pays for it.
        if isinstance(self._id, bytes):
            ms, _, sub = self._id.partition(b"-")
            self._id = EntryId(int(ms), int(sub))
        return self._id

    @property
    def wire_id(self) -> bytes:
        """The entry's id as Redis writes it."""
        return self._id if isinstance(self._id, bytes) else self._id.wire()

    @property
    def id(self) -> str:
        """The entry's id as text, `ms-sub`."""
        return str(self.entry_id)

    @property
    def stream(self) -> str:
        """The stream key, without a shard suffix."""
        return self.origin.stream

    @property
    def shard(self) -> int:
        """The shard, 0 for an unsharded stream."""
        return self.origin.shard

    @property
    def sequence(self) -> int | None:
        """SeaStreamer's sequence number; None for an id that it cannot hold."""
        return self.entry_id.sequence(wide=self.origin.unit_ns == 1)

    @property
    def timestamp_ns(self) -> int:
        """Nanoseconds since the epoch, exactly."""
        return self.entry_id.ms * self.origin.unit_ns

    @property
    def timestamp(self) -> datetime | None:
        """An aware UTC time; None beyond the year 9999, where `timestamp_ns` still tells."""
        return utc_datetime(self.timestamp_ns)

    def _place(self) -> tuple[str, int, EntryId]:
        return self.stream, self.shard, self.entry_id


class MessageHeader(_Header):
    """Where and when a message stands: stream, shard, sequence, timestamp, id.

    The receipt of a sent message is its header.
    """

    __slots__ = ()

    def __init__(self, origin: Origin, entry_id: EntryId | bytes) -> None:
        self.origin = origin
        self._id = entry_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(stream={self.stream!r}, shard={self.shard}, id={self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageHeader) and self._place() == other._place()

    def __hash__(self) -> int:
        return hash(self._place())


Receipt = MessageHeader


class Message(_Header):
    """One message: `stream, shard, sequence, timestamp, payload`, and its `id`."""

    __slots__ = ("payload",)

    def __init__(self, origin: Origin, entry_id: EntryId | bytes, payload: bytes) -> None:
        self.origin = origin
        self._id = entry_id
        self.payload = payload

    @property
    def header(self) -> MessageHeader:
        """Everything but the payload."""
        return MessageHeader(self.origin, self._id)

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    def text(self) -> str:
        """The payload as text.

        Raises:
            DecodeError: it is not UTF-8.
        """
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            raise self._undecodable("UTF-8 text", error) from error

    def json(self) -> Any:
        """The payload parsed as one JSON value.

        Raises:
            DecodeError: it is not JSON.
        """
        try:
            return json.loads(self.payload)
        except ValueError as error:
            raise self._undecodable("JSON", error) from error

    def _undecodable(self, what: str, error: ValueError) -> DecodeError:
        # Only the reason: the payload itself may be a secret and does not belong in a traceback.
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "bad byte sequence"
        return DecodeError(
            f"entry {self.id} of {self.stream!r} is not {what}: {reason}", entry_id=self.id
        )

    def __repr__(self) -> str:
        shown = self.payload if self.size <= 80 else self.payload[:77] + b"..."
        return f"Message({self.stream!r}, shard={self.shard}, id={self.id!r}, payload={shown!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Message)
            and self._place() == other._place()
            and self.payload == other.payload
        )

    def __hash__(self) -> int:
        return hash((self._place(), self.payload))


Payload = str | bytes | bytearray | memoryview | Message


def payload_bytes(payload: Payload) -> bytes:
    r"""The bytes to send; buffers are copied, so that changing them later changes nothing.

    >>> payload_bytes("café"), payload_bytes(memoryview(b"ab")[1:])
    (b'caf\xc3\xa9', b'b')

    Raises:
        TypeError: it is neither text nor bytes.
    """
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, Message):
        return payload.payload
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(payload)
    raise TypeError(
        f"a payload is text or bytes, not {type(payload).__name__}: "
        "encode it first, as with json.dumps"
    )
