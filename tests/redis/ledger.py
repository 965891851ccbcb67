"""What a producer was told, held against what is in the streams."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing

import pytest

import seastream_nb as ss
from seastream_nb.errors import MaybeSent, NotSent
from tests.servers import plain_client


class Ledger:
    """Sends numbered messages, and checks what became of each.

    Attributes:
        outcomes: how many ended as "sent", "NotSent" and "MaybeSent", after `check`.
        errors: what was said of the others.
    """

    def __init__(self, producer: ss.Producer) -> None:
        self._producer = producer
        self._pending: list[ss.PendingReceipt] = []
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def send(self, count: int, *keys: str) -> None:
        """Queue so many messages, one after another to each of the streams; default `ticks`."""
        for number in range(len(self._pending), len(self._pending) + count):
            key = (keys or ("ticks",))[number % len(keys or "x")]
            self._pending.append(self._producer.send_to(key, str(number)))

    def check(self, url: str, *, within: float = 60) -> Counter[str]:
        """Every message ended once, and is in its stream once, in order, or not at all as told."""
        log: dict[tuple[str, bytes], bytes] = {}
        where: dict[int, list[bytes]] = defaultdict(list)
        with closing(plain_client(url)) as client:
            for key in {each.origin.stream for each in self._pending}:
                for entry_id, fields in client.xrange(key):
                    log[key, entry_id] = fields[b"msg"]
                    where[int(fields[b"msg"])].append(entry_id)
        acknowledged: set[bytes] = set()
        for number, pending in enumerate(self._pending):
            try:
                receipt = pending.result(within)
            except (NotSent, MaybeSent) as error:
                self.outcomes[type(error).__name__] += 1
                self.errors[str(error)] += 1
                if isinstance(error, NotSent) and where[number]:
                    pytest.fail(f"{number} was sent")
            else:
                self.outcomes["sent"] += 1
                payload = b"%d" % number
                assert log.get((receipt.stream, receipt.id.encode())) == payload, number
                acknowledged.add(payload)
            assert len(where[number]) <= 1, f"{number} is there twice"
        # One that may have been sent can come late; no other overtakes.
        for key in {each.origin.stream for each in self._pending}:
            there = [int(each) for (at, _), each in log.items() if at == key]
            numbers = [each for each in there if b"%d" % each in acknowledged]
            assert numbers == sorted(numbers), f"{key} is out of order"
        assert sum(self.outcomes.values()) == len(self._pending)
        return self.outcomes
