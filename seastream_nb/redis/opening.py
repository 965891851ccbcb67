"""Opening a connection: where to, as whom, and what went wrong, in one attempt.

redis-py connects, encrypts and authenticates. Its errors are told again in our words and without
their tracebacks, since the frames of its handshake hold the password.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.connection import AbstractConnection, SSLConnection, UnixDomainSocketConnection
from redis.credentials import CredentialProvider

from seastream_nb.errors import AuthError, ConfigError, ConnectError, StreamError
from seastream_nb.options import ConnectOptions
from seastream_nb.url import Secret


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is and who asks; `str()` is what the user named, safe to show."""

    shown: str
    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    db: int = 0
    username: str | None = None
    password: Secret | None = None

    def __str__(self) -> str:
        return self.shown


async def open_transport(
    address: Address, options: ConnectOptions, within: float
) -> asyncio.Transport:
    """The transport of a connection that is authenticated and whose server answers commands.

    Raises:
        ConnectError: nothing answers within so many seconds, TLS fails, or the server is not
            ready.
        AuthError: the credentials were refused.
        ConfigError: the server has no such database.
    """
    connection = _redis_connection(address, options)
    try:
        async with asyncio.timeout(within):
            await connection.connect()  # type: ignore[no-untyped-call]
            await _greet(connection, address)
    except (exceptions.RedisError, OSError, ConfigError) as error:
        failure = _failure(address, options, error, within)
    except BaseException:
        _drop(connection)
        raise
    else:
        return _take_transport(connection)
    _drop(connection)
    # Not raised above, where it would carry the frames of redis-py along.
    raise failure


class _Login(CredentialProvider):
    """User and password, out of sight until the moment they are sent."""

    def __init__(self, username: str | None, password: Secret | None) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password.reveal() if self._password is not None else ""
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def _redis_connection(address: Address, options: ConnectOptions) -> AbstractConnection:
    login = address.username or (address.password is not None and address.password.reveal())
    kwargs: dict[str, Any] = {
        "protocol": 2,
        "credential_provider": _Login(address.username, address.password) if login else None,
        "driver_info": None,
        "socket_timeout": None,  # one limit for everything: that of `open_transport`
        "socket_connect_timeout": None,
    }
    if address.path:
        # Over a socket redis-py logs in as soon as it is connected, and then once more.
        kwargs["redis_connect_func"] = _nothing_more
        return UnixDomainSocketConnection(path=address.path, **kwargs)
    kwargs |= {"host": address.host, "port": address.port}
    if not address.tls:
        return redis_asyncio.Connection(**kwargs)
    return SSLConnection(
        ssl_ca_certs=options.tls_ca,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        ssl_cert_reqs="none" if options.tls_insecure else "required",
        ssl_check_hostname=not options.tls_insecure,
        **kwargs,
    )


def _nothing_more(connection: AbstractConnection) -> None:
    """The handshake is done."""


async def _greet(connection: AbstractConnection, address: Address) -> None:
    """Ask for a sign of life, which a full or loading server refuses; then choose the database."""
    with suppress(exceptions.NoPermissionError):  # a refusal by the ACL is one
        await connection.send_command("PING")
        await connection.read_response()
    if address.db:
        await connection.send_command("SELECT", address.db)
        try:
            await connection.read_response()
        except exceptions.NoPermissionError:
            raise
        except exceptions.ResponseError as error:
            raise ConfigError(f"db={address.db}: {address} refuses it: {error}") from None


def _take_transport(connection: AbstractConnection) -> asyncio.Transport:
    """The transport of a connection that will not touch it again.

    redis-py has no way to give it away. After the handshake nothing is unread, and without a
    writer redis-py does nothing more.
    """
    writer, connection._writer, connection._reader = connection._writer, None, None
    assert writer is not None
    transport = cast("asyncio.Transport", writer.transport)
    # A writer that is forgotten closes its transport.
    cast("Any", writer)._transport = _Closed()
    return transport


def _drop(connection: AbstractConnection) -> None:
    if connection._writer is not None:
        _take_transport(connection).abort()


class _Closed(asyncio.Transport):
    """What a writer has instead of the transport that was taken from it."""

    def is_closing(self) -> bool:
        return True


def _failure(
    address: Address, options: ConnectOptions, error: Exception, within: float
) -> StreamError:
    # Over a socket redis-py wraps the refusal of a login in another error.
    while isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__
    text = _without_password(str(error), address)
    if isinstance(error, ConfigError):
        return ConfigError(text)
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return AuthError(f"{address} refused the credentials: {text}")
    if isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError):
        return ConnectError(f"{address} is not ready: {text}")
    if isinstance(error, TimeoutError):
        hint = "; if its port does not speak TLS, write redis://" if address.tls else ""
        return ConnectError(f"{address} did not answer within {within:g} s{hint}")
    if isinstance(error, exceptions.InvalidResponse):
        return ConnectError(f"what answers at {address} does not speak the Redis protocol: {text}")
    cause = _system_error(error)
    reason = text if cause is None else _reason(cause)
    if isinstance(cause, ssl.SSLError):
        return _caused(ConnectError(f"no TLS connection to {address}: {reason}"), cause)
    hung_up = cause is None or isinstance(cause, ConnectionResetError | BrokenPipeError)
    hint = _hang_up_hint(address, options) if hung_up else ""
    return ConnectError(f"cannot connect to {address}: {reason}{hint}")


def _hang_up_hint(address: Address, options: ConnectOptions) -> str:
    if address.tls:
        return "" if options.tls_cert else "; it may want a client certificate: tls_cert, tls_key"
    return "" if address.path else "; if its port speaks TLS, write rediss://"


def _caused(error: ConnectError, cause: Exception) -> ConnectError:
    error.__cause__ = cause.with_traceback(None)
    return error


def _system_error(error: BaseException | None) -> OSError | None:
    """What the system said, somewhere below what redis-py made of it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).replace("_", " ").lower()
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return error.strerror or str(error)


def _without_password(text: str, address: Address) -> str:
    """The server's text, which may repeat a command that it does not know."""
    password = address.password.reveal() if address.password is not None else ""
    return (text.replace(password, "***") if password else text).rstrip(".")
