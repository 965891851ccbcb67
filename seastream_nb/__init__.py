"""Interactive analytics over Redis Streams in Jupyter.

import seastream_nb as ss

with ss.connect("redis://localhost") as streamer:
df = streamer["ticks"].since("02:10").until("02:20").json().to_pandas()
"""

from __future__ import annotations

from seastream_nb import errors
from seastream_nb.aio import (
    AsyncConsumer,
    AsyncProducer,
    AsyncStream,
    AsyncStreamer,
    connect_async,
)
from seastream_nb.backend import StreamInfo
from seastream_nb.errors import *  # noqa: F403 - every error is importable from the top
from seastream_nb.listing import Catalog
from seastream_nb.message import Message, MessageHeader, Receipt
from seastream_nb.receipt import PendingReceipt
from seastream_nb.server import EmbeddedServer, embedded
from seastream_nb.sharders import KeyHashSharder, PseudoRandomSharder, RoundRobinSharder
from seastream_nb.sync import Consumer, Producer, Stream, Streamer, connect

__version__ = "0.1.0"

__all__ = [
    "AsyncConsumer",
    "AsyncProducer",
    "AsyncStream",
    "AsyncStreamer",
    "Catalog",
    "Consumer",
    "EmbeddedServer",
    "KeyHashSharder",
    "Message",
    "MessageHeader",
    "PendingReceipt",
    "Producer",
    "PseudoRandomSharder",
    "Receipt",
    "RoundRobinSharder",
    "Stream",
    "StreamInfo",
    "Streamer",
    "connect",
    "connect_async",
    "embedded",
    "errors",
]


def __dir__() -> list[str]:
    return sorted(__all__)
