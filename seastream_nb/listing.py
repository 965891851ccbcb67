"""The catalog: which streams a server holds, as a mapping and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from seastream_nb.backend import StreamInfo
from seastream_nb.errors import StreamNotFound
from seastream_nb.interchange import records_to_pandas
from seastream_nb.keys import key_text
from seastream_nb.notebook import display

if TYPE_CHECKING:
    import pandas as pd


_DTYPES = {
    "key": "string",
    "keys": "object",
    "shards": "object",
    "length": "Int64",
    "first_id": "string",
    "last_id": "string",
    "first_time": "datetime64[us, UTC]",
    "last_time": "datetime64[us, UTC]",
    "groups": "Int64",
    "bytes": "Int64",
}


class Catalog(Mapping[str, StreamInfo]):
    """Stream key -> `StreamInfo`, as of the moment it was asked for.

    A key that is no UTF-8 is shown escaped; that text, or the key's bytes, find it here, and a
    streamer reads what this gives. A key that is not there raises `StreamNotFound`, which is a
    `KeyError`.
    """

    def __init__(self, url: str, streams: list[StreamInfo]) -> None:
        self._url = url
        self._streams = {info.key: info for info in streams}

    def __getitem__(self, key: str | bytes) -> StreamInfo:
        try:
            return self._streams[key_text(key) if isinstance(key, bytes) else key]
        except KeyError:
            raise StreamNotFound(f"{key!r} is not among the {self._caption()}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def to_pandas(self) -> pd.DataFrame:
        """One row a stream, one column a field of `StreamInfo`; what is not known is null.

        The types do not depend on what there is: counts are `Int64`, times are UTC.
        """
        return records_to_pandas(self.values(), _DTYPES)

    def _caption(self) -> str:
        streams = "1 stream" if len(self) == 1 else f"{len(self):,} streams"
        return f"{streams} at {display.brief(self._url)}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [display.info_row(info) for info in islice(self.values(), display.MAX_ROWS)]

    def _more(self) -> str:
        more = len(self) - display.MAX_ROWS
        return f"and {more:,} more: to_pandas() has them all" if more > 0 else ""

    def __repr__(self) -> str:
        if not self:
            return self._caption()
        lines = [self._caption(), display.text_table(display.INFO_COLUMNS, self._rows())]
        return "\n".join(filter(None, [*lines, self._more()]))

    def _repr_html_(self) -> str:
        caption = ", ".join(filter(None, [self._caption(), self._more()]))
        return display.table(display.INFO_COLUMNS, self._rows(), caption)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)
