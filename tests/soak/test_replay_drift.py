"""How far a replay at its original pace drifts from the clock; `-s` shows the figures."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

import seastream_nb as ss

if TYPE_CHECKING:
    import redis

FIRST_MS = 1_700_000_000_000
STEP_MS = 20
SECONDS = 60


@pytest.mark.soak
def test_a_minute_takes_a_minute(streamer: ss.Streamer, client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for at in range(0, SECONDS * 1_000 + 1, STEP_MS):
            pipeline.xadd("s", {"msg": b"x" * 200}, id=f"{FIRST_MS + at}-0")
        pipeline.execute()
    late: list[float] = []
    began = 0.0
    for message in streamer["s"].replay():
        now = time.monotonic()
        began = began or now
        due = (message.entry_id.ms - FIRST_MS) / 1_000
        late.append((now - began - due) * 1_000)
    drift = median(late[-500:]) - median(late[:500])
    print(
        f"\nreplay of {SECONDS} s: drift {drift:+.3f} ms, "
        f"late {median(late):.2f} ms (median), {max(late):.2f} ms (most)"
    )
    assert len(late) == SECONDS * 1_000 // STEP_MS + 1
    assert abs(drift) < 100
