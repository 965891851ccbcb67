"""Commands as bytes, and replies as values. No I/O.

Packing by hand is what makes a pipelined XADD cheap: one bytes object a message, no encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from seastream_nb.keys import EntryId

Argument = bytes | str | int
# The field that holds the number of an idempotent producer's message.
TAG = b"i"


def pack(command: Iterable[Argument]) -> bytes:
    r"""A command as Redis reads it.

    >>> pack(["XLEN", b"ticks"])
    b'*2\r\n$4\r\nXLEN\r\n$5\r\nticks\r\n'
    """
    parts = [_encoded(argument) for argument in command]
    body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), body)


def _encoded(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return (argument if isinstance(argument, str) else str(argument)).encode()


def xadd_head(key: bytes, field: bytes, *, tagged: bool = False) -> tuple[bytes, bytes]:
    r"""The constant parts of `XADD key <id> field <payload>`, before and after the id.

    `tagged` leaves room for another field and value behind the payload.

    >>> head, tail = xadd_head(b"s", b"msg")
    >>> xadd(head, tail, b"*", b"hello") == pack(["XADD", "s", "*", "msg", "hello"])
    True
    """
    return (
        b"*%d\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n" % (7 if tagged else 5, len(key), key),
        b"$%d\r\n%b\r\n" % (len(field), field),
    )


def xadd(head: bytes, tail: bytes, entry_id: bytes, payload: bytes) -> bytes:
    """One XADD around the constant parts of `xadd_head`."""
    return b"%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n" % (
        head,
        len(entry_id),
        entry_id,
        tail,
        len(payload),
        payload,
    )


def xrange(key: bytes, start: EntryId, end: EntryId, count: int, *, reverse: bool = False) -> bytes:
    """`XRANGE`, or `XREVRANGE` with the same bounds, both inclusive."""
    if reverse:
        return pack(["XREVRANGE", key, end.wire(), start.wire(), "COUNT", count])
    return pack(["XRANGE", key, start.wire(), end.wire(), "COUNT", count])


def xread(positions: dict[bytes, EntryId], *, count: int, block_ms: int | None) -> bytes:
    """`XREAD` after a position for each key; `block_ms` None does not wait."""
    block: list[Argument] = [] if block_ms is None else ["BLOCK", block_ms]
    ids = [position.wire() for position in positions.values()]
    return pack(["XREAD", "COUNT", count, *block, "STREAMS", *positions, *ids])


def xreadgroup(
    group: str, consumer: str, positions: dict[bytes, bytes], *, count: int, block_ms: int | None
) -> bytes:
    """`XREADGROUP` of new entries (position `>`) or of the consumer's own pending ones after an id.

    NOACK is never asked for: a reply that gets lost would be lost with its entries.
    """
    block: list[Argument] = [] if block_ms is None else ["BLOCK", block_ms]
    who = ["XREADGROUP", "GROUP", group, consumer, "COUNT", count, *block]
    return pack([*who, "STREAMS", *positions, *positions.values()])


def xack(key: bytes, group: str, ids: Sequence[bytes]) -> bytes:
    """`XACK` of these entries.

    >>> xack(b"s", "g", [b"1-0", b"2-0"]) == pack(["XACK", b"s", "g", b"1-0", b"2-0"])
    True
    >>> xack(b"s", "g", [b"1-0", b"20-0"]) == pack(["XACK", b"s", "g", b"1-0", b"20-0"])
    True
    """
    sizes = set(map(len, ids))
    if len(sizes) > 1:
        return pack(["XACK", key, group, *ids])
    # Ids of one length, as they are nearly always, need no loop in Python.
    head = b"$%d\r\n" % sizes.pop()
    _, _, start = pack(["XACK", key, group]).partition(b"\r\n")
    return b"*%d\r\n%b%b%b\r\n" % (3 + len(ids), start, head, (b"\r\n" + head).join(ids))


def pairs(reply: list[Any]) -> dict[bytes, Any]:
    """A flat reply of names and values as a dictionary.

    >>> pairs([b"length", 3, b"groups", 0])
    {b'length': 3, b'groups': 0}
    """
    return dict(zip(reply[0::2], reply[1::2], strict=True))
