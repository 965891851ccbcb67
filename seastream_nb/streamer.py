"""Connecting: what a target means, and which backend serves it."""

from __future__ import annotations

import asyncio
import os
import tomllib
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from seastream_nb import server
from seastream_nb.endpoints import StreamerEndpoint
from seastream_nb.errors import ConfigError, StreamError, Unsupported
from seastream_nb.file.streamer import FileStreamer
from seastream_nb.options import ConnectOptions, require_known, require_options
from seastream_nb.redis.opening import Address
from seastream_nb.redis.streamer import RedisStreamer
from seastream_nb.stdio.streamer import StdioStreamer
from seastream_nb.url import StreamerUri

EMBEDDED = "embedded:"
WAYS = (
    "connect() needs a target: a URL such as 'redis://localhost', the Path of an .ss file, the "
    "name of a connection in seastream.toml, or $SEASTREAM_URL"
)
Target = str | Path | None
_FILES = ("tls_ca", "tls_cert", "tls_key")


async def open_streamer(target: Target, given: Mapping[str, Any]) -> StreamerEndpoint:
    """Connect to a target with the user's options.

    No frame of the tracebacks that leave here holds a password.

    Raises:
        ConfigError, StreamUrlError, Unsupported: before anything is sent.
        ConnectError, AuthError: after one attempt.
    """
    failure: StreamError | None = None
    try:
        uri, options = _understood(target, given)
    except StreamError as error:
        failure = error.with_traceback(None)
        failure.__cause__ = failure.__context__ = None
    finally:
        del target, given
    if failure is not None:
        raise failure
    if uri is None:
        return await _open_embedded(options)
    return await _OPENERS[uri.scheme](uri, options)


async def _open_redis(uri: StreamerUri, options: ConnectOptions) -> StreamerEndpoint:
    if options.tls_insecure:
        # Each time: the default filter would show it once a session.
        text = f"tls_insecure=True: the certificate of {uri} is not verified"
        warnings.warn_explicit(text, UserWarning, "seastream_nb", 0)
    return await _connected(RedisStreamer(_address(uri, str(uri)), options))


async def _open_embedded(options: ConnectOptions) -> StreamerEndpoint:
    private = await asyncio.to_thread(server.shared)
    uri = _merged(StreamerUri.parse(private.url), options)
    return await _connected(RedisStreamer(_address(uri, EMBEDDED), options))


async def _connected(streamer: RedisStreamer) -> StreamerEndpoint:
    await streamer.connect()
    return streamer


async def _open_stdio(uri: StreamerUri, options: ConnectOptions) -> StreamerEndpoint:
    return StdioStreamer(options)


async def _open_file(uri: StreamerUri, options: ConnectOptions) -> StreamerEndpoint:
    streamer = FileStreamer(_path(uri.path), options)
    await streamer.connect()
    return streamer


def _path(text: str) -> Path:
    """The file that a URL means: literally, or percent-encoded where there is none of that name."""
    path = Path(text)
    return Path(unquote(text)) if "%" in text and not path.exists() else path


Opener = Callable[[StreamerUri, ConnectOptions], Awaitable[StreamerEndpoint]]

# How each scheme is opened; one that is missing is refused by name.
_OPENERS: Mapping[str, Opener] = {
    "redis": _open_redis,
    "rediss": _open_redis,
    "redis+unix": _open_redis,
    "file": _open_file,
    "stdio": _open_stdio,
}


def _understood(
    target: Target, given: Mapping[str, Any]
) -> tuple[StreamerUri | None, ConnectOptions]:
    """The URL, or None for the embedded server, and the options, with those of a named connection.

    Raises:
        ConfigError, StreamUrlError, Unsupported: what cannot be meant, or not yet.
    """
    require_options(given)
    text, found = resolve_target(target, given)
    options = ConnectOptions.make(found, default_now=os.environ.get("SEASTREAM_NOW") or None)
    uri = None if text == EMBEDDED else StreamerUri.parse(text)
    if options.cluster:
        raise Unsupported("cluster=True is not available yet: connect to one server")
    if uri is not None and uri.scheme not in _OPENERS:
        raise Unsupported(f"{uri.scheme}:// streams are not available yet: connect to a server")
    if uri is not None and len(uri.nodes) > 1:
        raise ConfigError("several servers in one URL need cluster=True")
    if uri is None or uri.scheme != "rediss":
        asked = [name for name in (*_FILES, "tls_insecure") if getattr(options, name)]
        if asked:
            raise ConfigError(f"{asked[0]} is for rediss://, and this connection has no TLS")
    if options.loopback and (uri is None or uri.scheme != "stdio"):
        raise ConfigError("loopback=True is for stdio://: a server keeps what is sent to it")
    return uri and _merged(uri, options), options


def _merged(uri: StreamerUri, options: ConnectOptions) -> StreamerUri:
    """The URL with what was given as arguments, which win."""
    return replace(
        uri,
        db=options.db if options.db is not None else uri.db,
        username=options.username or uri.username,
        password=options.password if options.password is not None else uri.password,
    )


def _address(uri: StreamerUri, shown: str) -> Address:
    host, port = uri.nodes[0] if uri.nodes else ("", 0)
    return Address(
        shown=shown,
        host=host,
        port=port,
        path=uri.path,
        tls=uri.scheme == "rediss",
        db=uri.db or 0,
        username=uri.username,
        password=uri.password,
    )


def resolve_target(target: Target, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL that a target stands for, and the options with those of a named connection.

    Raises:
        ConfigError: no target, or an unknown name.
    """
    if target is None:
        target = os.environ.get("SEASTREAM_URL") or None
    if target is None:
        raise ConfigError(WAYS)
    if isinstance(target, Path):
        return f"file://{target}", dict(given)
    if not isinstance(target, str):
        # What it is is not repeated: it may be a URL as bytes, with its password.
        raise ConfigError(f"connect() was given something of type {type(target).__name__}; {WAYS}")
    if target.endswith(".ss") and not any(mark in target for mark in ":@"):
        # Text may be the name of a connection: which file is meant is said by its type.
        raise ConfigError(f"to open a file, write Path({target!r})")
    if any(mark in target for mark in ":/@"):
        return target, dict(given)
    return _named(target, given)


def _named(name: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    folder, section = _section(name)
    url = section.pop("url", None)
    if not isinstance(url, str) or not any(mark in url for mark in ":/"):
        raise ConfigError(f"connection {name!r} in {folder} needs url = 'redis://...'")
    variable = section.pop("password_env", None)
    if variable is not None and given.get("password") is None:
        if variable not in os.environ:
            raise ConfigError(f"connection {name!r}: ${variable} is not set (password_env)")
        section["password"] = os.environ[variable]
    for option in _FILES:
        if isinstance(section.get(option), str):
            section[option] = folder / section[option]  # relative to where it is written
    return url, {**section, **given}


def _section(name: str) -> tuple[Path, dict[str, Any]]:
    """A named connection, from the nearest folder whose files name any."""
    for folder in [Path.cwd(), *Path.cwd().parents]:
        sections = {
            **_sections(folder / "pyproject.toml", ("tool", "seastream", "connections")),
            **_sections(folder / "seastream.toml", ("connections",)),
        }
        if sections:
            require_known("connection", name, sections)
            section = sections[name]
            if not isinstance(section, dict):
                raise ConfigError(f"connection {name!r} in {folder} must be a table with a url")
            return folder, dict(section)
    raise ConfigError(
        f"unknown connection {name!r}: no seastream.toml with [connections.{name}] here or above; "
        f"for a server of that name write 'redis://{name}'"
    )


def _sections(path: Path, where: tuple[str, ...]) -> dict[str, Any]:
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for key in where:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}
