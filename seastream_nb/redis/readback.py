"""What became of commands whose answers were lost: the old link is killed, then the log is read.

Before the kill a command may still arrive, held up somewhere on the way. After it what was executed
is in the stream, above the highest id that was known before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seastream_nb.errors import AuthError
from seastream_nb.keys import FIRST_ID, EntryId
from seastream_nb.redis import wire
from seastream_nb.redis.connection import Link, LinkLost, accepted
from seastream_nb.redis.pool import LinkPool, waited_out
from seastream_nb.redis.resp import Refusal
from seastream_nb.redis.wire import Argument, pack

# Entries that are read back at a time; those of others, of any size, may be among them.
PAGE = 200
_COMMAND_DENIED = re.compile("NOPERM.* command")
_NEEDED: dict[str, tuple[Argument, ...]] = {
    "+client|id": ("CLIENT", "ID"),
    "+client|kill": ("CLIENT", "KILL", "ADDR", "0.0.0.0:0"),
    "+xrange": ("XRANGE", "s", "-", "-", "COUNT", 1),
    "+xrevrange": ("XREVRANGE", "s", "-", "-", "COUNT", 1),
}


@dataclass(frozen=True)
class Identity:
    """A link as the server knows it; the number alone may mean another after a restart."""

    run: bytes
    number: int


@dataclass(frozen=True)
class Found:
    """What a stream holds.

    Attributes:
        ids: the entries that were looked for, by their tag.
        top: the highest id there.
        cut: whether entries were removed from where they could have been.
    """

    ids: Mapping[bytes, bytes]
    top: EntryId
    cut: bool


async def ask(link: Link, commands: Sequence[Sequence[Argument]], within: float) -> list[Any]:
    """The replies to commands that may be repeated; refusals are among them.

    Raises:
        LinkLost: the link broke, or is given up since the server is not ready.
    """
    if not commands:
        return []
    packed = [pack(command) for command in commands]
    replies = await link.answer(link.request(packed, len(packed)), within)
    for reply in filter(waited_out, replies):
        link.drop(str(reply))
        raise LinkLost(str(reply))
    return replies


async def require_rights(pool: LinkPool) -> None:
    """Make sure that what was lost can be looked up.

    Raises:
        AuthError: the ACL forbids it; names the right.
        ConnectError: the server is away.
    """
    replies = await pool.replies(list(_NEEDED.values()), doing="asking for the rights to look up")
    for right, reply in zip(_NEEDED, replies, strict=True):
        # A key that may not be read is told at the first message to it.
        if isinstance(reply, Refusal) and _COMMAND_DENIED.match(str(reply)):
            raise AuthError(f"idempotent=True needs the right {right}: {reply}")


async def introduce(link: Link, within: float) -> Identity:
    """The link as the server knows it.

    Raises:
        AuthError, ServerError: the server refuses to say.
        LinkLost: the link broke.
    """
    number, info = await ask(link, [("CLIENT", "ID"), ("INFO", "server")], within)
    number = accepted(number, "asking for the connection's own id")
    lines = b"" if isinstance(info, Refusal) else info
    run = [line for line in lines.split(b"\r\n") if line.startswith(b"run_id:")]
    return Identity(b"".join(run), number)


async def kill(link: Link, old: Sequence[Identity], now: Identity, within: float) -> None:
    """Keep what is on its way over old links from being executed.

    Raises:
        AuthError, ServerError: the server refuses.
        LinkLost: the link broke.
    """
    # Numbers begin again when the server does: its old links are gone, the numbers are others'.
    same = [each for each in old if each.run == now.run and each.number < now.number]
    for reply in await ask(link, [("CLIENT", "KILL", "ID", each.number) for each in same], within):
        if not (isinstance(reply, Refusal) and "No such client" in str(reply)):
            accepted(reply, "ending the connection that broke")


async def tops(link: Link, keys: Sequence[bytes], within: float) -> dict[bytes, EntryId | Refusal]:
    """The highest id of each stream, `0-0` of what is none; or why it is not told.

    Raises:
        LinkLost: the link broke.
    """
    replies = await ask(link, [("XREVRANGE", key, "+", "-", "COUNT", 1) for key in keys], within)
    return {key: _id_of(reply) for key, reply in zip(keys, replies, strict=True)}


def _id_of(reply: Any) -> EntryId | Refusal:
    if isinstance(reply, Refusal):
        return FIRST_ID if str(reply).startswith("WRONGTYPE") else reply
    return EntryId.parse(reply[0][0]) if reply else FIRST_ID


async def look_up(
    link: Link, key: bytes, top: EntryId, lowest: EntryId, tags: Collection[bytes], within: float
) -> Found:
    """Which tagged entries a stream holds from the id `lowest` on; `top` once was its highest.

    Raises:
        AuthError, ServerError: the server refuses.
        LinkLost: the link broke.
    """
    doing = f"looking up what was sent to {key.decode(errors='backslashreplace')!r}"
    commands = [("XREVRANGE", key, "+", "-", "COUNT", 1), ("XRANGE", key, "-", "+", "COUNT", 1)]
    ends = [_id_of(reply) for reply in await ask(link, commands, within)]
    last, first = (accepted(end, doing) for end in ends)
    # A stream that ends lower has lost its end, or was deleted and began again.
    bounds = (FIRST_ID if last < top else lowest, last)
    name, since = _split(min(tags, key=lambda tag: _split(tag)[1]))
    found: dict[bytes, bytes] = {}
    while bounds[0] <= bounds[1] and len(found) < len(tags):
        request = link.request([wire.xrange(key, *bounds, PAGE, reverse=True)], 1)
        page = accepted((await link.answer(request, within))[0], doing)
        ours = [
            (entry_id, body[-1])
            for entry_id, body in page
            if body[-2:-1] == [wire.TAG] and body[-1].startswith(name + b":")
        ]
        found |= {tag: entry_id for entry_id, tag in ours if tag in tags}
        # Below an earlier message of ours there is no later one.
        if len(page) < PAGE or any(_split(tag)[1] < since for _, tag in ours):
            break
        bounds = (bounds[0], EntryId.parse(page[-1][0]).previous())
    return Found(found, last, cut=FIRST_ID < top < first and top <= last)


def _split(tag: bytes) -> tuple[bytes, int]:
    """Producer and number."""
    name, _, number = tag.partition(b":")
    return name, int(number)
