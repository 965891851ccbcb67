"""Everything that can go wrong, as one tree.

Each error says what was attempted, on which stream, and what to do. Each also is the built-in
error that a Python user would catch.

    StreamError
    ├── ConnectError (ConnectionError)   nothing answers, or the link broke
    ├── AuthError (PermissionError)      the server refused the credentials or the command (ACL)
    ├── ConfigError (ValueError)         an option, a time or a combination that cannot be meant
    │   └── TimeTypeError (TypeError)    a value of a type that is never a time, such as an int
    ├── StreamUrlError (ValueError)      a URL that cannot be read
    ├── StreamKeyError (ValueError)      a key that SeaStreamer forbids on a producer
    ├── StreamNotFound (KeyError)        asked about a stream that does not exist
    │   └── GroupNotFound                or about a consumer group, or a consumer in it
    ├── StreamEnded                      the stream was ended by its producer
    ├── StreamReset                      the stream was deleted or recreated under a reader
    ├── ConsumerClosed, ProducerClosed   used after `end`, `abort` or `close`
    ├── AlreadyAnchored, NotAnchored     a producer's own stream
    ├── CommitNotAllowed, AckNotAllowed  refused by the auto-commit rule
    ├── NotSent                          this message is certainly not in the stream
    ├── MaybeSent                        the fault left it unknown
    ├── QueueFull                        more waits to be sent than the queue may hold
    ├── ReadOnlyError (PermissionError)  refused before anything was sent
    ├── TooLarge (MemoryError)           the frame would not fit
    ├── DecodeError (ValueError)         a payload that is not what was asked for
    ├── ServerError                      the server refused; keeps the server's own text
    ├── FileError (OSError)
    │   ├── FileFormatError              not a valid `.ss` file, with the byte offset
    │   └── ExportExists                 the target is there already
    └── Unsupported (NotImplementedError)  this server or version cannot do it
"""

from __future__ import annotations

from functools import partial
from typing import Any


class StreamError(Exception):
    """Any error of seastream_nb."""

    def _render_traceback_(self) -> list[str]:
        """Show one line in IPython, and still fail the cell (nbval and nbmake see the error)."""
        return [" ".join(f"{type(self).__name__}: {self}".splitlines())]


class ConnectError(StreamError, ConnectionError):
    """Nothing answers at the target, or the link to it broke."""


class AuthError(StreamError, PermissionError):
    """The server refused the credentials, or its ACL refused the command."""


class ConfigError(StreamError, ValueError):
    """An option, a time or a combination that cannot be meant."""


class TimeTypeError(ConfigError, TypeError):
    """A value whose type is never a time."""


class StreamUrlError(StreamError, ValueError):
    """A URL that cannot be read."""


class StreamKeyError(StreamError, ValueError):
    """A stream key that SeaStreamer forbids."""


class StreamNotFound(StreamError, KeyError):
    """A stream that does not exist was asked about."""

    # KeyError shows the repr of its argument; a sentence should show as itself.
    __str__ = Exception.__str__


class GroupNotFound(StreamNotFound):
    """A consumer group that does not exist, or a consumer in it, was asked about."""


class StreamEnded(StreamError):
    """The stream was ended by its producer."""


class StreamReset(StreamError):
    """The stream was deleted or recreated while it was read."""


class ConsumerClosed(StreamError):
    """The consumer was used after it ended."""


class ProducerClosed(StreamError):
    """The producer was used after it ended."""


class AlreadyAnchored(StreamError):
    """A producer is anchored to one stream, once."""


class NotAnchored(StreamError):
    """`send` needs a producer that is anchored to a stream."""


class CommitNotAllowed(StreamError):
    """This consumer's auto-commit rule does not allow an explicit commit."""


class AckNotAllowed(StreamError):
    """This consumer's auto-commit rule does not allow an explicit ack."""


class NotSent(StreamError):
    """The message is certainly not in the stream."""


class MaybeSent(StreamError):
    """A fault left it unknown whether the message is in the stream."""


class QueueFull(StreamError):
    """More bytes wait to be sent than the producer's queue may hold."""


class ReadOnlyError(StreamError, PermissionError):
    """Refused before anything was sent: the connection is read-only."""


class TooLarge(StreamError, MemoryError):
    """The frame would not fit in memory."""


class DecodeError(StreamError, ValueError):
    """A payload is not what was asked for.

    Attributes:
        entry_id: the entry's id, `ms-sub`.
        column: the column that could not be filled, or None for the whole payload.
    """

    def __init__(self, message: str, *, entry_id: str, column: str | None = None) -> None:
        super().__init__(message)
        self.entry_id = entry_id
        self.column = column

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(type(self), entry_id=self.entry_id, column=self.column)
        return again, self.args


class ServerError(StreamError):
    """The server refused a command; the text is the server's own."""


class FileError(StreamError, OSError):
    """An `.ss` or Parquet file could not be read or written."""


class FileFormatError(FileError):
    """A file breaks its format at a byte offset."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), offset=self.offset), self.args


class ExportExists(FileError):
    """The target of an export exists and `overwrite=True` was not given."""


class Unsupported(StreamError, NotImplementedError):
    """This server, version or build cannot do what was asked."""
