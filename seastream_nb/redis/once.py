"""A command that writes is sent once: whether it was executed is not known when a link breaks."""

from __future__ import annotations

import asyncio
from typing import Any

from seastream_nb.errors import ConnectError
from seastream_nb.redis.connection import LinkLost, accepted
from seastream_nb.redis.pool import LinkPool, not_yet
from seastream_nb.redis.wire import Argument, pack


async def once(pool: LinkPool, *command: Argument, doing: str) -> Any:
    """The reply to a command; it is sent again only if the server says that it did nothing.

    Raises:
        ConnectError: the link broke, and it may have been done; or there was none to send it on.
        AuthError, ServerError: the server refused it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + pool.options.timeout
    link = await pool.take(deadline, doing)
    while True:
        try:
            request = link.request([pack(command)], 1)
            [reply] = await link.answer(request, deadline - loop.time())
        except LinkLost as lost:
            unknown = "it may have been done, and was not tried again"
            raise ConnectError(f"{doing}: {lost}; {unknown}") from lost
        finally:
            pool.give_back(link)
        if not not_yet(reply):
            return accepted(reply, doing)
        link = await pool.reopen(deadline, f"{doing}: {reply}")
