"""Receipts, by themselves: a batch that a test settles stands for the producer."""

from __future__ import annotations

import asyncio
import gc
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss
from seastream_nb.errors import ConfigError, MaybeSent, NotSent
from seastream_nb.keys import NumberedId
from seastream_nb.message import Origin
from seastream_nb.receipt import Batch, PendingReceipt
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from seastream_nb.quantities import Duration

TICKS = Origin("ticks", 3, b"ticks:3")


@pytest.fixture
def batch() -> Batch:
    return Batch()


@pytest.fixture
def pending(batch: Batch) -> PendingReceipt:
    return PendingReceipt(TICKS, batch, 0)


def soon(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_receipt_is_the_header_of_the_message(batch: Batch, pending: PendingReceipt) -> None:
    batch.settle([b"1700000000000-5"])
    receipt = pending.result()
    assert receipt == ss.Message(TICKS, b"1700000000000-5", b"x").header
    assert (receipt.stream, receipt.shard, receipt.id) == ("ticks", 3, "1700000000000-5")
    assert receipt.sequence == 1700000000000 << 16 | 5


def test_a_receipt_may_have_a_number_apart_from_its_time(
    batch: Batch, pending: PendingReceipt
) -> None:
    batch.settle([NumberedId(1700000000000, 5), b"7-1"])
    receipt = pending.result()
    assert (receipt.id, receipt.sequence) == ("1700000000000-5", 5)
    assert batch.unseen == {}


def test_result_waits_for_the_end(batch: Batch, pending: PendingReceipt) -> None:
    settling = soon(lambda: eventually(lambda: batch._waiter) and batch.settle([b"1-1"]))
    assert pending.result().id == "1-1"
    settling.join()


def test_result_gives_up_after_its_timeout_and_the_message_goes_on(
    batch: Batch, pending: PendingReceipt
) -> None:
    with pytest.raises(TimeoutError, match=r"'ticks': no answer within 0\.01 s"):
        pending.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        pending.result(timeout=0)
    assert not pending.done
    batch.settle([b"1-1"])
    assert pending.done
    assert pending.result(timeout=0).id == "1-1"


@pytest.mark.parametrize("timeout", ["10ms", timedelta(milliseconds=10), 0.01])
def test_a_timeout_of_result_is_any_duration(pending: PendingReceipt, timeout: Duration) -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        pending.result(timeout)
    with pytest.raises(ConfigError, match="timeout='soon'"):
        pending.result("soon")


@pytest.mark.parametrize("kind", [NotSent, MaybeSent])
def test_a_failure_is_raised_each_time_it_is_asked_for(
    batch: Batch, pending: PendingReceipt, kind: type[Exception]
) -> None:
    batch.settle([kind("sending to 'ticks': OOM")])  # type: ignore[list-item]
    lengths = set()
    for _ in range(3):
        with pytest.raises(kind, match="OOM") as caught:
            pending.result()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(lengths) == 1  # raising it again adds nothing to what was raised before


def test_only_a_failure_that_was_shown_is_seen(batch: Batch) -> None:
    first, second = (PendingReceipt(TICKS, batch, index) for index in range(2))
    batch.settle([NotSent("one"), NotSent("two")])
    assert "one" in repr(first)
    assert list(batch.unseen) == [0, 1]
    with pytest.raises(NotSent, match="two"):
        second.result()
    assert list(batch.unseen) == [0]


def test_the_messages_of_a_batch_fail_one_by_one(batch: Batch) -> None:
    receipts = [PendingReceipt(TICKS, batch, index) for index in range(3)]
    batch.settle([b"1-1", NotSent("no"), b"1-2"])
    assert [receipts[0].result().id, receipts[2].result().id] == ["1-1", "1-2"]
    with pytest.raises(NotSent):
        receipts[1].result()


def test_many_threads_may_wait_for_one_receipt(batch: Batch, pending: PendingReceipt) -> None:
    waiting = threading.Barrier(9)

    def wait() -> ss.Receipt:
        waiting.wait()
        return pending.result(timeout=60)

    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(wait) for _ in range(8)]
        waiting.wait()
        batch.settle([b"1-1"])
        assert {result.result().id for result in results} == {"1-1"}


def test_it_may_be_awaited_on_several_loops(batch: Batch, pending: PendingReceipt) -> None:
    waiting = threading.Barrier(5)

    async def wait() -> ss.Receipt:
        waiting.wait()
        return await pending

    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(asyncio.run, wait()) for _ in range(4)]
        waiting.wait()
        batch.settle([b"1-1"])
        assert {result.result().id for result in results} == {"1-1"}


async def test_an_await_that_is_cancelled_leaves_the_others_alone(
    batch: Batch, pending: PendingReceipt
) -> None:
    async def wait() -> ss.Receipt:
        return await pending

    impatient, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
    assert await asyncio.to_thread(eventually, lambda: batch._waiter)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    batch.settle([b"1-1"])
    assert (await patient).id == "1-1"
    assert (await pending).id == "1-1"


async def test_awaiting_a_failure_raises_it_and_marks_it_seen(
    batch: Batch, pending: PendingReceipt
) -> None:
    batch.settle([MaybeSent("the link broke")])
    with pytest.raises(MaybeSent, match="link"):
        await pending
    assert not batch.unseen


def test_dropped_receipts_leave_nothing_behind(batch: Batch) -> None:
    class Watched(PendingReceipt):
        __slots__ = ("__weakref__",)

    receipt = Watched(TICKS, batch, 0)
    gone = weakref.ref(receipt)
    gc.disable()
    try:
        del receipt
        assert gone() is None
    finally:
        gc.enable()
    batch.settle([b"1-1"])


def test_the_repr_says_what_became_of_it(batch: Batch) -> None:
    sent, refused = (PendingReceipt(TICKS, batch, index) for index in range(2))
    assert repr(sent) == "<pending receipt for 'ticks'>"
    batch.settle([b"5-1", NotSent("sending to 'ticks': OOM")])
    assert repr(sent) == "MessageHeader(stream='ticks', shard=3, id='5-1')"
    assert repr(refused) == "<no receipt: NotSent: sending to 'ticks': OOM>"


def test_a_receipt_equals_the_header_of_the_message_that_is_read(url: str) -> None:
    with ss.connect(url) as streamer, streamer.producer("ticks") as producer:
        pending = [producer.send(f"{n}") for n in range(3)]
        receipts = [each.result() for each in pending]
        assert [message.header for message in streamer["ticks"]] == receipts
        assert len(set(receipts)) == 3
