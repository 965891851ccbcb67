"""What every backend with consumer groups must do: SeaStreamer's own cases of groups.

As in `contract`, a backend's test module inherits and has the fixture `place`.
"""

from __future__ import annotations

from typing import Any

import pytest

import seastream_nb as ss
from tests.contract import (
    Contract,
    Place,
    increase_strictly,
    queued,
    sent,
    taken,
    taken_and_acked,
)
from tests.facades import PATIENCE, Facade

MODES = ["resumable", "load_balanced"]


class GroupCreationContract(Contract):
    """A group needs its stream."""

    HOW = {"mode": "load_balanced", "auto_stream_reset": "earliest"}  # noqa: RUF012

    def test_without_mkstream_the_first_next_tells_that_there_is_no_stream(
        self, streamer: Facade, place: Place
    ) -> None:
        """CG-1."""
        key = place.fresh_key()
        producer = streamer.producer(key)
        consumer = streamer.consumer(key, **self.HOW)
        with pytest.raises(ss.StreamNotFound, match=key):
            consumer.next(PATIENCE)
        assert increase_strictly(sent(producer, range(5)))
        producer.flush()

    def test_a_stream_that_comes_later_is_read(self, streamer: Facade, place: Place) -> None:
        """After CG-1: what was missing is no reason to give up."""
        key = place.fresh_key()
        consumer = streamer.consumer(key, **self.HOW)
        with pytest.raises(ss.StreamNotFound, match=key):
            consumer.next(PATIENCE)
        queued(streamer.producer(key), range(5))
        assert taken(consumer, 5) == [0, 1, 2, 3, 4]

    def test_with_mkstream_the_group_is_there_before_the_first_message(
        self, streamer: Facade, place: Place
    ) -> None:
        """CG-2."""
        key = place.fresh_key()
        producer = streamer.producer(key)
        consumer = streamer.consumer(key, mkstream=True, **self.HOW)
        assert increase_strictly(sent(producer, range(5)))
        producer.flush()
        assert taken(consumer, 5) == [0, 1, 2, 3, 4]


class LoadBalancingContract(Contract):
    """Several consumers in one group."""

    HOW = {  # noqa: RUF012
        "mode": "load_balanced",
        "auto_stream_reset": "earliest",
        "auto_commit": "disabled",
        "auto_commit_interval": 0,
        "batch_size": 1,
    }

    def test_two_consumers_share_the_messages(self, streamer: Facade, place: Place) -> None:
        """LB-1."""
        key = place.fresh_key()
        producer = streamer.producer(key)
        queued(producer, range(5))
        alpha, beta = (streamer.consumer(key, **self.HOW) for _ in range(2))
        assert alpha.group_id == beta.group_id is not None
        assert alpha.consumer_id != beta.consumer_id
        assert None not in (alpha.consumer_id, beta.consumer_id)
        queued(producer, range(5, 10))
        turns = streamer.race([alpha, beta], 10)
        assert sorted(int(message.payload) for _, message in turns) == list(range(10))
        assert {who for who, _ in turns} == {0, 1}

    def test_what_a_dead_consumer_left_goes_to_another_in_order(
        self, streamer: Facade, place: Place
    ) -> None:
        """LB-2."""
        key = place.fresh_key()
        how = {**self.HOW, "group": key, "auto_claim_idle": 1, "auto_claim_interval": 1}
        producer = streamer.producer(key)
        alpha = streamer.consumer(key, **how)
        name = alpha.consumer_id
        queued(producer, range(5))
        assert taken(alpha, 5) == [0, 1, 2, 3, 4]
        beta = streamer.consumer(key, **how)
        assert beta.consumer_id not in (None, name)
        queued(producer, range(5, 10))
        assert taken_and_acked(beta, 5) == [5, 6, 7, 8, 9]
        beta.commit()
        alpha.end()
        assert taken_and_acked(beta, 5) == [0, 1, 2, 3, 4]
        queued(producer, range(10, 15))
        beta.commit()
        alpha = streamer.consumer(key, consumer_id=name, **how)
        assert taken(alpha, 2) == [10, 11]
        assert taken(beta, 3) == [12, 13, 14]


class ResumingContract(Contract):
    """A consumer goes on where the one of the same name ended."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("auto_commit", ["immediate", "delayed"])
    def test_what_was_delivered_is_not_repeated_and_the_rest_is_not_lost(
        self, streamer: Facade, place: Place, mode: str, auto_commit: str
    ) -> None:
        """RS-1."""
        key = place.fresh_key()
        how = {"mode": mode, "auto_commit": auto_commit, "auto_commit_delay": 0}

        def create(name: str, reset: str) -> Any:
            group = f"{key}{name}"
            return streamer.consumer(
                key, group=group, consumer_id=group, auto_stream_reset=reset, **how
            )

        producer = streamer.producer(key)
        receipts = sent(producer, range(5))
        assert {(receipt.stream, receipt.shard) for receipt in receipts} == {(key, 0)}
        assert increase_strictly(receipts)
        half = create("a", "latest")
        streamer.give_up(half, 0.001)
        full = create("b", "earliest")
        assert taken(full, 5) == [0, 1, 2, 3, 4]
        queued(producer, range(5, 10))
        producer.end()
        full.end()
        assert taken(half, 5) == [5, 6, 7, 8, 9]
        assert taken(create("b", "earliest"), 5) == [5, 6, 7, 8, 9]

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("auto_commit", ["rolling", "disabled"])
    def test_what_was_not_acknowledged_and_committed_is_repeated(
        self, streamer: Facade, place: Place, mode: str, auto_commit: str
    ) -> None:
        """RS-2. Acks that nobody's `next` has carried are not committed by time."""
        key = place.fresh_key()
        how = {"mode": mode, "auto_commit": auto_commit, "auto_commit_interval": 0}

        def create(name: str) -> Any:
            group = f"{key}{name}"
            return streamer.consumer(
                key, group=group, consumer_id=group, auto_stream_reset="earliest", **how
            )

        producer = streamer.producer(key)
        queued(producer, range(5))
        consumer, no_commit = create("c"), create("d")
        assert taken(no_commit, 5) == [0, 1, 2, 3, 4]
        iteration = iter(consumer)
        messages = [next(iteration) for _ in range(5)]
        assert [int(message.payload) for message in messages] == [0, 1, 2, 3, 4]
        for message in messages[:4]:
            consumer.ack(message)
        for message in messages:
            no_commit.ack(message)
        queued(producer, range(5, 10))
        producer.end()
        if auto_commit == "rolling":
            with pytest.raises(ss.CommitNotAllowed):
                consumer.commit()
            assert taken(consumer, 3) == [5, 6, 7]
        else:
            consumer.commit()
        consumer.abort()
        no_commit.abort()
        assert taken(create("c"), 6) == [4, 5, 6, 7, 8, 9]
        assert taken(create("d"), 5) == [0, 1, 2, 3, 4]
