"""The consumer groups of a stream, as pandas frames: where they stand, who reads, what is pending.

A terminal here is about whole shards, whatever the range of the query, and changes nothing.
Durations are `Timedelta`, times are aware, ids are text, counts that may be null are `Int64`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seastream_nb import checks
from seastream_nb.backend import PendingQuery, RangeSource
from seastream_nb.interchange import records_to_pandas
from seastream_nb.keys import EntryId, key_text
from seastream_nb.quantities import Duration
from seastream_nb.query import Query
from seastream_nb.reading import message_field

if TYPE_CHECKING:
    import pandas as pd

_PLACE = {"stream": "string", "shard": "uint64"}
_DURATION = "timedelta64[ms]"
_GROUPS = {
    **_PLACE,
    "name": "string",
    "consumers": "int64",
    "pending": "int64",
    "lag": "Int64",
    "last_delivered": "string",
    "last_delivered_time": "time",
    "oldest_pending": "string",
    "oldest_pending_idle": _DURATION,
}
_CONSUMERS = {
    **_PLACE,
    "name": "string",
    "pending": "int64",
    "idle": _DURATION,
    "inactive": _DURATION,
}
_PENDING_ONLY = {
    **_PLACE,
    "id": "string",
    "timestamp": "time",
    "owner": "string",
    "idle": _DURATION,
    "deliveries": "int64",
}
_PENDING = {**_PENDING_ONLY, "payload": "object"}


class GroupTerminals:
    """The terminals of a stream that are about its consumer groups."""

    source: RangeSource
    query: Query

    async def groups(self) -> pd.DataFrame:
        """Where every consumer group stands: a row for each group and shard.

        Columns: `stream`, `shard`, `name`, `consumers`, `pending` (given out, not acknowledged),
        `lag` (entries not given out yet, exact after trims and deletes, else null),
        `last_delivered` (an id) and `last_delivered_time`, `oldest_pending` (the lowest id that is
        pending) and `oldest_pending_idle` (since it was last given out).

        To be exact, up to 100,000 entries are counted by reading them, for each shard with a group
        inside it.

        Raises:
            StreamNotFound: there is no such stream.
        """
        keys, shards = self.query.keys, self.query.shards
        rows = [row for key in keys for row in await self.source.groups(key, shards)]
        return self._frame(rows, _GROUPS)

    async def consumers(self, group: str | bytes) -> pd.DataFrame:
        """The consumers of a group: a row for each consumer and shard.

        Columns: `stream`, `shard`, `name`, `pending`, `idle` (since it last asked), `inactive`
        (since it last got something; null before Redis 7.2, and while it got nothing).

        Raises:
            StreamNotFound: there is no such stream.
            GroupNotFound: or group; names those that there are.
        """
        name = checks.named("group", group, checks.name)
        keys, shards = self.query.keys, self.query.shards
        rows = [row for key in keys for row in await self.source.consumers(key, shards, name)]
        return self._frame(rows, _CONSUMERS)

    async def pending(
        self,
        group: str | bytes,
        *,
        consumer: str | bytes | None = None,
        min_idle: Duration | None = None,
        limit: int = 1_000,
        payload: bool = True,
    ) -> pd.DataFrame:
        """Entries that a group was given and has not acknowledged: a row each, lowest ids first.

        Columns: `stream`, `shard`, `id`, `timestamp`, `owner`, `idle` (since it was last given
        out), `deliveries`, and `payload`: the bytes of the message field, null for an entry that
        was deleted meanwhile or has no such field.

        Args:
            group: the group's name.
            consumer: only what this consumer was given.
            min_idle: only what was given out so long ago, or earlier.
            limit: at most so many rows.
            payload: False leaves that column out, and its entries unread.

        Raises:
            StreamNotFound, GroupNotFound: there is no such stream, group or consumer.
            ConfigError: an argument that cannot be meant.
            TooLarge: the payloads would not fit `max_frame_bytes`.
        """
        idle = checks.named("min_idle", min_idle, checks.or_none(checks.seconds_or_zero))
        name = checks.named("group", group, checks.name)
        wanted = PendingQuery(
            consumer=checks.named("consumer", consumer, checks.or_none(checks.name)),
            min_idle_ms=None if idle is None else round(idle * 1_000),
            limit=checks.named("limit", limit, checks.number_from(0)),
            field=message_field(self.source, self.query) if payload else None,
        )
        keys, shards = self.query.keys, self.query.shards
        rows = [row for key in keys for row in await self.source.pending(key, shards, name, wanted)]
        rows.sort(key=lambda row: EntryId.parse(row.id))
        return self._frame(rows[:limit], _PENDING if payload else _PENDING_ONLY)

    def _frame(self, rows: list[Any], columns: dict[str, str]) -> pd.DataFrame:
        time = f"datetime64[us, {self.query.zone}]"
        dtypes = {name: time if dtype == "time" else dtype for name, dtype in columns.items()}
        frame = records_to_pandas(rows, dtypes)
        keys = ",".join(map(key_text, self.query.keys))
        frame.attrs = {"seastream_url": self.source.url, "seastream_keys": keys}
        return frame
