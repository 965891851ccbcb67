"""Streamer URLs: which server, how to reach it, and as whom.

    redis://[user[:password]@]host[:port][,host[:port]...][/db]
    rediss://...                      the same over TLS, always verified
    redis+unix://[user[:password]@]/path/to/socket[?db=N]
    stdio://                          standard input and output of this process
    .../KEY[,KEY...]                  streams of any of them, for what takes a `StreamUrl`

SeaStreamer drops credentials and the database of a URL silently; they are honoured here.
No error repeats a part of the URL that may be a password, or a piece of one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote

from seastream_nb.errors import StreamKeyError, StreamUrlError
from seastream_nb.keys import MAX_KEY_LENGTH, is_legal

DEFAULT_PORT = 6379
SCHEMES = ("redis", "rediss", "redis+unix", "file", "stdio")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,19}")
_NODE = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_DB = re.compile(r"[0-9]{1,9}")


class Secret:
    """A password that no repr, format or pickle shows.

    >>> Secret("hunter2"), f"{Secret('hunter2')}", Secret("hunter2").reveal()
    (***, '***', 'hunter2')
    """

    __slots__ = ("_reveal",)

    def __init__(self, text: str) -> None:
        # A closure, not a text: a dump of the attributes then shows nothing either.
        self._reveal: Callable[[], str] = lambda: text

    def reveal(self) -> str:
        """The password itself."""
        return self._reveal()

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a password is never pickled")


@dataclass(frozen=True)
class StreamerUri:
    """A parsed streamer URL; `str()` gives it back with the password as `***`.

    >>> uri = StreamerUri.parse("redis://ana:s3cret@db.example:6380/2")
    >>> str(uri), uri.nodes, uri.db
    ('redis://ana:***@db.example:6380/2', (('db.example', 6380),), 2)
    """

    scheme: str
    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int | None = None
    username: str | None = None
    password: Secret | None = None

    @classmethod
    def parse(cls, text: str) -> StreamerUri:
        """Read a URL. In a password `?` is written `%3F`, and everything else may be.

        Raises:
            StreamUrlError: saying what is wrong and how to write it.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            raise StreamUrlError(f"this target has no scheme: write {_example(text)!r}")
        scheme = _known_scheme(scheme.lower())
        if scheme == "file":
            # Literally: a file may have any name.
            return cls(scheme=scheme, path=rest.rstrip("/") or rest[:1])
        if scheme == "stdio":
            return cls(scheme=_without_a_place(scheme, rest))
        if scheme == "redis+unix":
            return _with_socket(cls(scheme=scheme), rest)
        return _with_nodes(cls(scheme=scheme), rest)

    def __str__(self) -> str:
        who = quote(self.username or "", safe="")
        if self.password is not None:
            who += ":***"
        who += "@" if who else ""
        if not self.nodes:
            db = f"?db={self.db}" if self.db else ""
            return f"{self.scheme}://{who}{quote(self.path)}{db}"
        nodes = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes
        )
        return f"{self.scheme}://{who}{nodes}" + (f"/{self.db}" if self.db else "")


@dataclass(frozen=True)
class StreamUrl:
    """A streamer and stream keys: what follows the last slash of a URL, separated by commas.

    >>> url = StreamUrl.parse("redis://:s3cret@db.example/2/ticks,trades")
    >>> str(url), url.streamer.db, url.keys
    ('redis://:***@db.example:6379/2/ticks,trades', 2, ('ticks', 'trades'))
    """

    streamer: StreamerUri
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> StreamUrl:
        """Read a URL with keys, or with none after its last slash.

        Raises:
            StreamUrlError: it has no slash for keys, or its streamer cannot be read.
            StreamKeyError: what follows the last slash are no keys.
        """
        streamer, keys = split_keys(text)
        return cls(StreamerUri.parse(streamer), keys)

    @property
    def key(self) -> str:
        """The only key.

        Raises:
            StreamUrlError: there are none, or several.
        """
        if len(self.keys) != 1:
            raise StreamUrlError(
                f"{self} names {len(self.keys) or 'no'} streams: name one after the last slash"
            )
        return self.keys[0]

    def __str__(self) -> str:
        return f"{self.streamer}/{','.join(self.keys)}"


def split_keys(text: str) -> tuple[str, tuple[str, ...]]:
    """The streamer's part of a URL, and the keys.

    >>> split_keys("kafka://node-a:1234,node-b:1234/a,b")
    ('kafka://node-a:1234,node-b:1234', ('a', 'b'))
    >>> split_keys("file:///path/to/hi.ss/")
    ('file:///path/to/hi.ss', ())

    Raises:
        StreamUrlError: there is no slash for keys.
        StreamKeyError: what follows the last slash are no keys.
    """
    scheme, separator, rest = text.partition("://")
    place, slash, names = rest.rpartition("/")
    if not separator or not slash:
        raise StreamUrlError(
            "a URL with streams ends in a slash and their keys, as 'redis://localhost/ticks' "
            "or 'stdio:///ticks'"
        )
    keys = tuple(name for name in names.split(",") if name)
    if not all(map(is_legal, keys)):
        # Not repeated: it may be the rest of a password that has a slash in it.
        raise StreamKeyError(
            f"what follows the last slash of the URL is no stream key: use 1 to {MAX_KEY_LENGTH} "
            "ASCII letters, digits, '.', '_' or '-', and ',' between two keys"
        )
    return f"{scheme}://{place}", keys


def _known_scheme(scheme: str) -> str:
    if scheme in SCHEMES:
        return scheme
    # What stands before "://" may be the rest of a URL that was cut, with its password.
    shown = f" {scheme!r}" if _SCHEME.fullmatch(scheme) else ""
    close = difflib.get_close_matches(scheme, SCHEMES, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(SCHEMES)}"
    raise StreamUrlError(f"unknown scheme{shown} in the URL; {hint}")


def _without_a_place(scheme: str, rest: str) -> str:
    if rest not in ("", "/", "."):
        raise StreamUrlError(
            f"{scheme}:// is this process's own and takes nothing after it; "
            "streams are named after connecting, as in streamer['ticks']"
        )
    return scheme


def _with_nodes(uri: StreamerUri, rest: str) -> StreamerUri:
    credentials, at, place = rest.rpartition("@")
    if "?" in credentials:
        raise StreamUrlError(
            "there is a '?' before the '@' of the URL: write it as %3F in a password; "
            "options are arguments of connect()"
        )
    place, _, query = place.partition("?")
    if query:
        raise _options_in_url(query, "write the database as in redis://host:6379/2")
    nodes, _, db = place.partition("/")
    if not nodes:
        raise StreamUrlError(f"the URL names no host: write '{uri.scheme}://localhost'")
    uri = replace(uri, nodes=tuple(map(_node, nodes.split(","))))
    if db and not _DB.fullmatch(db):
        raise StreamUrlError(
            "what follows the host in the URL is no database number; "
            "streams are named after connecting, as in streamer['ticks']"
        )
    return _with_user(replace(uri, db=int(db) if db else None), credentials, at)


def _with_socket(uri: StreamerUri, rest: str) -> StreamerUri:
    authority, slash, rest = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    if host or not slash:
        raise StreamUrlError(
            "redis+unix:// needs the absolute path of a socket: write three slashes, as in "
            "'redis+unix:///run/redis.sock' or 'redis+unix://user:password@/run/redis.sock', "
            "and a '/' in a password as %2F"
        )
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    db = options.pop("db", "") if query else "0"
    if options:
        raise _options_in_url(query, "a socket takes only ?db=")
    if not _DB.fullmatch(db):
        raise StreamUrlError("db= in the URL must be a number")
    uri = replace(uri, path="/" + unquote(path), db=int(db) if query else None)
    return _with_user(uri, credentials, at)


def _with_user(uri: StreamerUri, credentials: str, at: str) -> StreamerUri:
    username, colon, password = credentials.partition(":")
    return replace(
        uri,
        username=unquote(username) or None,
        password=Secret(unquote(password)) if at and colon else None,
    )


def _node(text: str) -> tuple[str, int]:
    match = _NODE.fullmatch(text)
    if match is None:
        raise StreamUrlError(
            "the host in the URL cannot be read: write host, host:port or [ipv6]:port, "
            "after user:password@ where there is a password"
        )
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port < 2**16:
        raise StreamUrlError("the port in the URL is not between 1 and 65535")
    return match["ipv6"] or match["host"], port


def _options_in_url(query: str, hint: str) -> StreamUrlError:
    # Without a "=" it is no option, but maybe a piece of a password.
    pairs = (each.partition("=") for each in query.split("&"))
    names = ", ".join(name for name, equals, _ in pairs if equals)
    shown = f" ({names})" if names else ""
    return StreamUrlError(
        f"the URL carries options{shown}: pass them to connect() instead, since TLS checks "
        f"cannot be switched off in a URL; {hint}"
    )


def _example(text: str) -> str:
    return f"redis://{text}" if _NODE.fullmatch(text) else "redis://localhost:6379"
