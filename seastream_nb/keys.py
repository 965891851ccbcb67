"""Names and positions: stream keys, shards, and entry ids with their sequence numbers.

An entry id `ms-sub` is two unsigned 64-bit numbers. SeaStreamer packs it into one sequence
number, `ms << 16 | sub`: 64 bits wide for millisecond ids, 128 for nanosecond ids.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, Self

from seastream_nb.errors import StreamKeyError

ShardId = int
SeqNo = int
SeqPos = Literal["beginning", "end"] | int

MAX_U64 = 2**64 - 1
MAX_KEY_LENGTH = 249
RESERVED_KEYS = frozenset({"SEA_STREAMER_INTERNAL", "SEA_STREAMER_WILDCARD"})

_LEGAL_KEY = re.compile(r"[A-Za-z0-9._-]+")
_ENTRY_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


class StreamKey(str):
    """A stream key that SeaStreamer accepts: 1 to 249 of `A-Z a-z 0-9 . _ -`, not reserved.

    >>> StreamKey("trades.eu-1")
    'trades.eu-1'
    >>> StreamKey("app:orders")
    Traceback (most recent call last):
    ...
    seastream_nb.errors.StreamKeyError: 'app:orders' is no SeaStreamer stream key: ...

    Raises:
        StreamKeyError: for any other name. Reading accepts every Redis key; producers do not.
    """

    __slots__ = ()

    def __new__(cls, name: object) -> StreamKey:
        """Check the name."""
        if not isinstance(name, str) or not is_legal(name):
            raise StreamKeyError(
                f"{name!r} is no SeaStreamer stream key: use 1 to {MAX_KEY_LENGTH} ASCII letters, "
                "digits, '.', '_' or '-', and none of the reserved names"
            )
        return super().__new__(cls, name)


def is_legal(name: str) -> bool:
    """Whether a producer may write to a stream of this name.

    >>> is_legal("a.b"), is_legal("a:b"), is_legal("SEA_STREAMER_INTERNAL")
    (True, False, False)
    """
    return (
        len(name) <= MAX_KEY_LENGTH
        and _LEGAL_KEY.fullmatch(name) is not None
        and name not in RESERVED_KEYS
    )


class EscapedKey(str):
    """Text that shows a key which is no UTF-8, and stands for it where a key is asked for."""

    __slots__ = ("key",)

    key: bytes

    @classmethod
    def of(cls, key: bytes) -> Self:
        """The text of a key."""
        text = cls(key.decode("utf-8", "backslashreplace"))
        text.key = key
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.key,)


def key_text(key: bytes) -> str:
    r"""The key as text; bytes that are not UTF-8 are shown escaped.

    >>> key_text(b"caf\xc3\xa9"), key_text(b"\xff")
    ('café', '\\xff')
    """
    try:
        return key.decode()
    except UnicodeDecodeError:
        return EscapedKey.of(key)


def key_bytes(key: str | bytes) -> bytes:
    r"""The key as Redis holds it.

    >>> key_bytes("ticks"), key_bytes(key_text(b"\xff")), key_bytes(r"\xff")
    (b'ticks', b'\xff', b'\\xff')

    Raises:
        StreamKeyError: text with a lone surrogate, which has no bytes.
    """
    if isinstance(key, EscapedKey):
        return key.key
    try:
        return key if isinstance(key, bytes) else key.encode()
    except UnicodeEncodeError:
        raise StreamKeyError(f"{key!r} is no text in UTF-8: give the key as bytes") from None


def shard_key(name: str, shard: int) -> bytes:
    """The Redis key of one shard.

    >>> shard_key("ticks", 3)
    b'ticks:3'
    """
    return f"{name}:{shard}".encode()


def split_shard(key: bytes) -> tuple[str, int] | None:
    """Stream name and shard of a key `NAME:<digits>`; None for any other key.

    Leading zeros are not a shard: `a:07` and `a:7` are two keys, so only one can be shard 7.

    >>> split_shard(b"ticks:12")
    ('ticks', 12)
    >>> split_shard(b"app:orders"), split_shard(b"a:b:1"), split_shard(b"ticks:01")
    (None, None, None)
    """
    name, colon, digits = key.partition(b":")
    if not colon or not digits.isdigit() or len(digits) > len(str(MAX_U64)):
        return None
    if len(digits) > 1 and digits.startswith(b"0"):
        return None
    text = key_text(name)
    return (text, int(digits)) if is_legal(text) and int(digits) <= MAX_U64 else None


class EntryId(NamedTuple):
    """The id of an entry: a time in the stream's unit and a sub-sequence.

    >>> str(EntryId(1700000000000, 3)), EntryId.parse("1700000000000-3").sequence()
    ('1700000000000-3', 111411200000000003)
    >>> EntryId(5, 1) < EntryId(5, 2)
    True
    """

    ms: int
    sub: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.sub}"

    def wire(self) -> bytes:
        """The id as Redis reads it."""
        return b"%d-%d" % self

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """Read `ms-sub`.

        Raises:
            ValueError: the text is no full entry id of two unsigned 64-bit numbers.
        """
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        match = _ENTRY_ID.fullmatch(text)
        if match and int(match[1]) <= MAX_U64 and int(match[2]) <= MAX_U64:
            return cls(int(match[1]), int(match[2]))
        raise ValueError(f"{text!r} is no entry id: expected two numbers, ms-sub")

    def sequence(self, *, wide: bool = False) -> int | None:
        """The SeaStreamer sequence number, or None when it cannot hold this id.

        >>> EntryId(1, 65536).sequence() is None, EntryId(2**48, 0).sequence() is None
        (True, True)
        >>> EntryId(2**48, 0).sequence(wide=True) == 2**64
        True
        """
        if self.sub > 0xFFFF or (self.ms >= 2**48 and not wide):
            return None
        return self.ms << 16 | self.sub

    @classmethod
    def from_sequence(cls, sequence: int) -> EntryId:
        """The id that a sequence number packs.

        >>> EntryId.from_sequence(111411200000000003)
        EntryId(ms=1700000000000, sub=3)
        """
        return cls(sequence >> 16, sequence & 0xFFFF)

    def next(self) -> EntryId:
        """The smallest id after this one; the last id of all is its own next.

        >>> EntryId(1, 2).next(), EntryId(1, 2**64 - 1).next()
        (EntryId(ms=1, sub=3), EntryId(ms=2, sub=0))
        """
        if self.sub < MAX_U64:
            return EntryId(self.ms, self.sub + 1)
        return EntryId(self.ms + 1, 0) if self.ms < MAX_U64 else self

    def previous(self) -> EntryId:
        """The largest id before this one; `0-0` is its own previous.

        >>> EntryId(1, 2).previous(), EntryId(0, 0).previous()
        (EntryId(ms=1, sub=1), EntryId(ms=0, sub=0))
        """
        if self.sub:
            return EntryId(self.ms, self.sub - 1)
        return EntryId(self.ms - 1, MAX_U64) if self.ms else self


class NumberedId(EntryId):
    """An id out of a file whose messages are numbered apart from their times: `ms-sequence`.

    >>> EntryId(5, 3).sequence(), NumberedId(5, 3).sequence()
    (327683, 3)
    """

    __slots__ = ()

    def sequence(self, *, wide: bool = False) -> int | None:
        """The sequence number that stands in the file."""
        return self.sub


FIRST_ID = EntryId(0, 0)
LAST_ID = EntryId(MAX_U64, MAX_U64)
