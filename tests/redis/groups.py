"""What a server knows of a group, and SeaStreamer's own processes, played by their commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers import eventually

if TYPE_CHECKING:
    import redis


def at_least(client: redis.Redis, major: int) -> bool:
    """Whether the server is compatible with this major version of Redis."""
    return int(client.info("server")["redis_version"].split(".")[0]) >= major


def owners(client: redis.Redis, key: str = "s", group: str = "g") -> dict[str, str]:
    """The entries that wait for an ack, in order: id to the name of the consumer that has it."""
    found = client.xpending_range(key, group, "-", "+", 1_000_000)
    return {each["message_id"].decode(): each["consumer"].decode() for each in found}


def pending(client: redis.Redis, key: str = "s", group: str = "g") -> int:
    """How many entries wait for an ack."""
    return int(client.xpending(key, group)["pending"])


def all_acked(client: redis.Redis, key: str = "s", group: str = "g", within: float = 10.0) -> bool:
    """Whether soon no entry waits for an ack."""
    return eventually(lambda: pending(client, key, group) == 0, within=within)


def idle_ms(client: redis.Redis, name: str, key: str = "s", group: str = "g") -> int:
    """For how long a consumer has been idle: what peers take for death when it is long."""
    found = {each["name"].decode(): each["idle"] for each in client.xinfo_consumers(key, group)}
    return int(found[name])


class Peer:
    """A SeaStreamer process in Rust: what it sends is what section 1.6 of the spec lists."""

    def __init__(self, client: redis.Redis, name: str, *, key: str = "s", group: str = "g") -> None:
        self._client = client
        self._place = key, group
        self.name = name

    def create_group(self, at: str = "0") -> None:
        self._client.execute_command("XGROUP", "CREATE", *self._place, at, "MKSTREAM")

    def read(self, count: int, after: str | bytes = ">") -> list[tuple[bytes, Any]]:
        """New entries, or after an id this consumer's pending ones: pairs of id and fields."""
        key, group = self._place
        command = ("XREADGROUP", "GROUP", group, self.name, "COUNT", count, "STREAMS", key, after)
        reply = self._client.execute_command(*command)
        return list(reply[0][1]) if reply else []

    def ack(self, *ids: bytes | str) -> int:
        acked: int = self._client.execute_command("XACK", *self._place, *ids)
        return acked

    def rescue(self, dead: str, idle_ms: int, count: int) -> list[tuple[bytes, Any]]:
        """Claim as SeaStreamer does: under the name of the dead consumer."""
        command = ("XAUTOCLAIM", *self._place, dead, idle_ms, "0-0", "COUNT", count)
        reply = self._client.execute_command(*command)
        return [entry for entry in reply[1] if entry[0] is not None]


def values(entries: list[tuple[bytes, Any]]) -> list[int]:
    """The payloads of raw entries."""
    return [int(fields[b"msg"]) for _, fields in entries]
