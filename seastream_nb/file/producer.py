"""Sending into a file: queued at once, written in the order of sending, numbered by the writer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from seastream_nb.errors import ConfigError, Unsupported
from seastream_nb.file.format import LAST_MS
from seastream_nb.file.handle import Create
from seastream_nb.file.legal import MAX_PAYLOAD
from seastream_nb.file.session import Place, Session, session_of
from seastream_nb.file.writer import BEACON_INTERVAL, FILE_SIZE_LIMIT
from seastream_nb.keys import EntryId, NumberedId, StreamKey, shard_key
from seastream_nb.message import NS_PER_MS, Origin
from seastream_nb.options import ConnectOptions, ProducerOptions
from seastream_nb.producing import ProducerCore
from seastream_nb.receipt import PendingReceipt
from seastream_nb.times import Fixed, Instant, When, parse_when


class FileProducer(ProducerCore):
    """The asynchronous core of a producer into a file.

    A receipt says that the message is with the operating system; `end` brings it to the disk.
    """

    def __init__(
        self,
        session: Session,
        options: ProducerOptions,
        connection: ConnectOptions,
        *,
        release: Callable[[Any], None],
        end_with_eos: bool = False,
    ) -> None:
        outbox = session.join(options.max_queue)
        super().__init__(options, connection, outbox, release=release)
        self._session = session
        self._end_with_eos = end_with_eos
        self._ended = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        options: ProducerOptions,
        connection: ConnectOptions,
        *,
        release: Callable[[Any], None],
        create: Create = "never",
        beacon_interval: int = BEACON_INTERVAL,
        file_size_limit: int = FILE_SIZE_LIMIT,
        torn_tail: Literal["warn", "raise"] = "warn",
        end_with_eos: bool = False,
    ) -> Self:
        """A producer on a file; the first one of this process opens it with its options.

        Raises:
            FileError: it cannot be opened, or another process writes it.
            FileFormatError: it is no `.ss` file, or damaged: `ss.repair` first.
            Unsupported: a durability that files do not have.
        """
        if options.durability != "primary":
            raise Unsupported(f"a file has no replicas: durability={options.durability!r}")
        session = await session_of(
            path,
            create=create,
            beacon_interval=beacon_interval,
            file_size_limit=file_size_limit,
            torn_tail=torn_tail,
        )
        return cls(session, options, connection, release=release, end_with_eos=end_with_eos)

    def _queue(
        self, key: str, data: bytes, entry_id: bytes | int | None, shard: int | None
    ) -> PendingReceipt:
        size = len(data)
        if size > MAX_PAYLOAD:
            raise ConfigError(f"a payload of {size:,} bytes is not under the format's 4 GiB")
        if entry_id is None:
            entry_id = time.time_ns() // NS_PER_MS
        place = self._places.get((key, shard)) or self._place(key, shard)
        return PendingReceipt(place.origin, *self._outbox.put((place, entry_id, data), size))

    def _make_place(self, name: StreamKey, shard: int | None) -> Place:
        number = shard or 0
        key = name.encode() if shard is None else shard_key(name, number)
        return Place(Origin(str(name), number, key), (str(name), number))

    def explicit_id(self, timestamp: When) -> bytes:
        """The id for a time, of which what is finer than milliseconds is cut off.

        Raises:
            ConfigError: it is no point in time from 1970 to 9999, or an id that a file cannot hold.
        """
        moment = parse_when(timestamp, tz=self.connection.tz)
        position = moment.position if isinstance(moment, Fixed) else None
        if isinstance(position, EntryId) and position.ms <= LAST_MS:
            if position.sequence() is not None:
                return position.wire()
        elif isinstance(position, Instant) and 0 <= position.ns // NS_PER_MS <= LAST_MS:
            return b"%d-*" % (position.ns // NS_PER_MS)
        raise ConfigError(
            f"timestamp={timestamp!r}: give a point in time from 1970 to 9999, or an id whose "
            "second number is below 65,536"
        )

    def tick_id(self, tick: int) -> bytes:
        """The id that leaves the sequence number to the file."""
        ms = tick * self.connection.unit_ns // NS_PER_MS
        if not 0 <= ms <= LAST_MS:
            raise ConfigError(f"a time of {ms:,} ms: a file holds times from 1970 to 9999")
        return b"%d-*" % ms

    def full_id(self, entry_id: EntryId) -> bytes:
        """The same sequence number and time as in another file, or as a server has them."""
        if isinstance(entry_id, NumberedId):
            return b"%d#%d" % entry_id
        return entry_id.wire()

    async def ends(self, places: Sequence[tuple[str, int | None]]) -> list[EntryId | None]:
        """The highest sequence number of each stream and shard, as an id; None where none is."""
        highest = self._session.highest()
        found = [highest.get((StreamKey(key), shard or 0)) for key, shard in places]
        return [None if each is None else EntryId.from_sequence(each) for each in found]

    async def flush(self) -> None:
        """Wait until every earlier send is written.

        Raises:
            NotSent, MaybeSent: the first failure of a send that nobody has seen yet.
            FileError: the file was removed or renamed.
        """
        await super().flush()
        await self._session.check()

    async def _stop(self) -> None:
        if not self._ended:
            self._ended = True
            await self._session.leave(self._outbox, eos=self._end_with_eos)
