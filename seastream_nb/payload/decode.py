"""How payloads become columns, as asked for: checked once, before anything is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from seastream_nb.errors import ConfigError
from seastream_nb.keys import key_bytes
from seastream_nb.payload import ndjson
from seastream_nb.payload.columns import ERROR, EXTRA

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class Decode:
    """How an entry becomes columns.

    With a `schema` the columns are exactly its columns, by JSON key or field name; what else an
    entry holds is left out, unless the schema has a string column `_extra` for it.

    Attributes:
        kind: "raw" and "text" leave one payload column; "json" gives a column a key, "fields" one a
            field of the entry.
        field: where the payload is; None for the connection's message field.
        names: with "fields", the fields to read; none means all.
        schema: the types of the columns, with `names` of some of them; None to infer them. JSON
            times are ISO text, UTC where it has no offset.
        errors: with "json", whether a payload that does not fit raises or is kept as a row of nulls
            with the reason in `_error`.

    Raises:
        ConfigError: a value or a combination that cannot be meant.
    """

    kind: Literal["raw", "text", "json", "fields"] = "raw"
    field: str | bytes | None = None
    names: tuple[str | bytes, ...] = ()
    schema: pa.Schema | None = None
    errors: Literal["raise", "keep"] = "raise"

    def __post_init__(self) -> None:
        """Check."""
        if self.kind not in ("raw", "text", "json", "fields"):
            raise ConfigError(f"kind={self.kind!r}: expected 'raw', 'text', 'json' or 'fields'")
        if self.errors not in ("raise", "keep"):
            raise ConfigError(f"errors={self.errors!r}: expected 'raise' or 'keep'")
        if self.errors == "keep" and self.kind != "json":
            raise ConfigError(f"errors='keep' is for json(), not for {self.kind}")
        self._check_fields()
        if self.schema is not None:
            self._check_schema(self.schema)

    def _check_fields(self) -> None:
        if self.field is not None and not _is_name(self.field):
            raise ConfigError(f"field={self.field!r}: give the name of one field")
        if not all(map(_is_name, self.names)):
            shown = ", ".join(map(repr, self.names))
            raise ConfigError(f"fields({shown}): give names of fields, as in fields('a', 'b')")
        if self.kind != "fields" and self.names:
            raise ConfigError(f"field names are for fields(), not for {self.kind}")
        if self.kind == "fields" and self.field is not None:
            raise ConfigError(
                "fields() reads every field or those named; field= is for one payload"
            )
        if repeated := _repeated(map(key_bytes, self.names)):
            raise ConfigError(f"field {repeated!r} is named twice")

    def _check_schema(self, schema: pa.Schema) -> None:
        if not isinstance(schema, pa.Schema):
            raise ConfigError(f"schema= expects a pyarrow.Schema, not {type(schema).__name__}")
        if self.kind not in ("json", "fields"):
            raise ConfigError(f"schema= is for json() and fields(), not for {self.kind}")
        if repeated := _repeated(schema.names):
            raise ConfigError(f"schema= has column {repeated!r} twice")
        for column in schema:
            self._check_column(column)

    def _check_column(self, column: pa.Field) -> None:
        where = f"schema= column {column.name!r}"
        if column.name == ERROR:
            raise ConfigError(f"{where} is made by errors='keep', it cannot be asked for")
        if column.name == EXTRA:
            if column.type != pa.string():
                raise ConfigError(f"{where} holds JSON text: its type is string")
            return
        if self.names and column.name.encode() not in map(key_bytes, self.names):
            raise ConfigError(f"{where} is not among the fields that are named")
        if not column.nullable:
            raise ConfigError(f"{where} must be nullable: any entry may lack it")
        if not _is_readable(column.type, as_json=self.kind == "json"):
            raise ConfigError(f"{where}: {self.kind} cannot be read as {column.type}")


def _is_name(value: object) -> bool:
    return isinstance(value, str | bytes)


def _repeated(names: Iterable[str | bytes]) -> str | bytes | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _is_readable(kind: pa.DataType, *, as_json: bool) -> bool:
    try:
        if as_json:
            ndjson.read_lines(pa.array([b"{}"]), {"column": kind})
        else:
            pa.array([], pa.string()).cast(kind)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True
