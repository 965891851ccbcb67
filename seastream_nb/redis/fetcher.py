"""Reading shards a batch at a time, no more than is wanted, whatever becomes of the link.

    Demand ─► Fetcher: one request on a link of its own ─► batch ─► inbox

Two kinds satisfy `Fetcher`: `realtime.py` reads with XREAD, `grouped.py` with XREADGROUP. What they
share is here: reading ahead or on demand, reconnecting, and a shard that is refused, which is set
aside while the others are read on.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic

from seastream_nb.errors import StreamError
from seastream_nb.inbox import Batch
from seastream_nb.redis.aside import ASIDE_SECONDS, S, Shards
from seastream_nb.redis.connection import BLOCK_MS, Link, LinkLost, refused
from seastream_nb.redis.pool import LinkPool, waited_out
from seastream_nb.redis.resp import Refusal

# While whole pages come, the next one may be longer: up to so many entries, or bytes of payload.
MOST_ENTRIES = 2_000
MOST_BYTES = 4 * 2**20
# What the server says of one key, while the others can be read on.
_OF_A_KEY = ("WRONGTYPE", "NOGROUP", "UNBLOCKED")


class Demand:
    """Who waits for messages, and what has changed for them.

    Attributes:
        ahead: whether a batch is fetched before anybody waits for it.
        waiting: how many calls wait now.
    """

    def __init__(self, *, ahead: bool) -> None:
        self.ahead = ahead
        self.waiting = 0
        self._changed = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Whether a batch may be fetched."""
        return self.ahead or self.waiting > 0

    def announce(self) -> None:
        """Wake everyone who waits for a change, and nobody who will."""
        self._changed.set()
        self._changed.clear()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Somebody waits for messages."""
        self.waiting += 1
        self.announce()
        try:
            yield
        finally:
            self.waiting -= 1

    async def change(self) -> None:
        """Wait until something was announced."""
        await self._changed.wait()


class ReadAgain(Exception):
    """The server did not answer or was not ready: what was asked has to be asked anew."""


class Fetcher(ABC, Generic[S]):
    """Reads shards until it is stopped; used on the I/O thread only.

    Args:
        pool: where its one link comes from.
        shards: what to read, in the order of delivery.
        batch_size: entries a request and shard.
        may_grow: whether a request may ask for more while whole pages come.
        demand: when to read.
        doing: what this is for, as errors say it.
    """

    def __init__(
        self,
        pool: LinkPool,
        shards: Iterable[S],
        *,
        batch_size: int,
        may_grow: bool,
        demand: Demand,
        doing: str,
    ) -> None:
        self._pool = pool
        self._shards = Shards(shards)
        self._batch_size = self._count = batch_size
        self._may_grow = may_grow
        self._most = max(MOST_ENTRIES, batch_size)
        self._demand = demand
        self._doing = doing
        self._ahead: Batch | None = None
        self._refusals: deque[tuple[S, Refusal]] = deque()
        self._news: deque[StreamError] = deque()
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._parked = False

    def take(self) -> Batch | None:
        """The batch that was fetched, if it came."""
        batch, self._ahead = self._ahead, None
        if batch is not None:
            self._demand.announce()
        return batch

    def go_on(self) -> None:
        """Read on, from where reading stopped if it failed.

        Raises:
            StreamError: what happened since this was asked last; each thing is told once.
        """
        if self._news:
            raise self._news.popleft()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._parked:
            self._parked = False
            self._demand.announce()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="seastream consumer")

    def add(self, shard: S) -> None:
        """Read one more shard, from the next request on."""
        self._shards.add(shard)
        self._demand.announce()

    def stop(self) -> None:
        """Read no more. Nothing comes from this fetcher afterwards."""
        self._ahead = None
        if self._task is not None:
            self._task.cancel()

    @abstractmethod
    async def _fetch(self) -> Batch | None:
        """The messages of one request, if there are any.

        Raises:
            ReadAgain, LinkLost: the request has to be made anew.
        """

    @abstractmethod
    def _request(self, shards: Sequence[S], block_ms: int | None) -> bytes:
        """The command that reads these shards on."""

    @abstractmethod
    def _received(self, shard: S, entries: list[Any], batch: Batch) -> None:
        """Add the entries that came to a batch, and move on behind them."""

    def _after_loss(self) -> None:
        """A request went out, and its answer will never come.

        The server may have closed the link because the answer outgrew its output buffer.
        """
        self._most = max(1, self._count // 2)
        self._count = min(self._count, self._most)

    async def _prepare(self, link: Link) -> None:
        """Make a new link ready for reading."""

    # The loop.

    async def _run(self) -> None:
        try:
            while True:
                while self._ahead is not None or self._parked or not self._demand.wanted:
                    await self._demand.change()
                batch = await self._fetch_surely()
                if batch is not None:
                    self._ahead = batch
                self._demand.announce()
        except Exception as error:  # whatever it is, somebody waits for messages
            self._failure = error
            self._demand.announce()
        finally:
            self._release_link()

    async def _fetch_surely(self) -> Batch | None:
        """What `_fetch` gives, through outages of up to the connection's timeout."""
        loop, deadline = asyncio.get_running_loop(), None
        while True:
            try:
                if self._link is None:
                    await self._connect(await self._pool.take(deadline, self._doing))
                return await self._fetch()
            except (LinkLost, ReadAgain) as trouble:
                self._release_link()
                deadline = deadline or loop.time() + self._pool.options.timeout
                link = await self._pool.reopen(deadline, f"{self._doing}: {trouble}")
                with suppress(LinkLost):
                    await self._connect(link)

    async def _connect(self, link: Link) -> None:
        self._link = link
        try:
            await self._prepare(link)
        except LinkLost:
            self._release_link()
            raise

    def _release_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._pool.give_back(link)

    # Requests.

    async def _ask(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to requests, of which each may be refused by itself.

        Raises:
            LinkLost: the link broke, or did not answer in time.
            ReadAgain: the server did nothing, and will be ready soon or somewhere else.
        """
        link = self._link
        assert link is not None
        allowed = BLOCK_MS / 1000 + self._pool.options.timeout
        try:
            replies = await link.answer(link.request(commands, len(commands)), allowed)
        except LinkLost:
            self._after_loss()
            raise
        except asyncio.CancelledError:
            link.drop("nobody waits for its reply")
            raise
        trouble = next(filter(waited_out, replies), None)
        if trouble is not None:
            # A replica stays one: whoever answers at the address next may be the primary.
            link.drop(str(trouble))
            raise ReadAgain(str(trouble))
        self._pool.worked()
        return replies

    async def _read(self, shards: Sequence[S], block_ms: int | None) -> Batch:
        """The messages of one request for these shards; those that are refused are set aside."""
        [reply] = await self._ask([self._request(shards, block_ms)])
        if isinstance(reply, Refusal):
            if not str(reply).startswith(_OF_A_KEY):
                raise refused(reply, self._doing)
            # It names no key, so each is asked alone.
            return await self._probe(shards)
        batch = Batch()
        self._add(reply, batch)
        return batch

    async def _probe(self, shards: Sequence[S]) -> Batch:
        """The messages of a request for each of these shards alone, which does not wait."""
        batch = Batch()
        replies = await self._ask([self._request([shard], None) for shard in shards])
        for shard, reply in zip(shards, replies, strict=True):
            if not isinstance(reply, Refusal):
                shard.trouble, shard.told = None, False
                self._add(reply, batch)
            elif not str(reply).startswith("UNBLOCKED"):
                self._refusals.append((shard, reply))
        return batch

    async def _look_at_refusals(self) -> None:
        """Set the shards aside that were refused.

        Not when it happens: to ask the server about it may fail, and messages came with it.
        """
        while self._refusals:
            await self._refused(*self._refusals[0])
            self._refusals.popleft()

    async def _refused(self, shard: S, refusal: Refusal) -> None:
        self._set_aside(shard, refused(refusal, f"reading {shard.origin.stream!r}"))

    def _add(self, reply: Any, batch: Batch) -> None:
        streams = reply or ()
        full = False
        for key, entries in streams:
            if key not in self._shards:  # unassigned since it was asked
                continue
            full = full or len(entries) >= self._count
            self._received(self._shards[key], entries, batch)
        if len(streams) > 1:
            batch.sort()
        count = self._next_count(batch) if full and self._may_grow else self._batch_size
        self._count = min(count, self._most)
        if full:
            # Slowly: each time that it is too much again costs a link.
            most = max(MOST_ENTRIES, self._batch_size)
            self._most = min(self._most + 1 + self._most // 8, most)

    def _next_count(self, batch: Batch) -> int:
        """How many entries to ask for after a whole page came."""
        fitting = MOST_BYTES * len(batch) // max(1, sum(map(len, batch.payloads)))
        return max(self._batch_size, min(2 * self._count, MOST_ENTRIES, fitting))

    # Shards that were refused.

    def _set_aside(self, shard: S, error: StreamError) -> None:
        self._shards.set_aside(shard, error, asyncio.get_running_loop().time())

    def _to_retry(self) -> list[S]:
        now = asyncio.get_running_loop().time()
        return self._shards.to_retry(now, urgent=self._demand.waiting > 0)

    def _tell(self) -> None:
        """Tell of shards that are still set aside, when somebody is there to hear it."""
        if self._demand.waiting:
            self._news += self._shards.tell()

    async def _wait_for_a_shard(self) -> None:
        """No shard can be read now: wait for a change, or for the time to look again.

        Raises:
            StreamError: the trouble of a shard, when somebody waits for messages.
        """
        trouble = self._shards.trouble
        if trouble is not None and self._demand.waiting and not self._news:
            raise type(trouble)(*trouble.args)
        with suppress(TimeoutError):
            async with asyncio.timeout(ASIDE_SECONDS if self._shards.aside else None):
                await self._demand.change()
