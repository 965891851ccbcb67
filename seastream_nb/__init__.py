"""Interactive analytics over Redis Streams in Jupyter.

    import seastream_nb as ss

    with ss.connect("redis://localhost") as streamer:
        df = streamer["ticks"].since("02:10").until("02:20").json().to_pandas()

Importing this package loads the errors only; a name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from seastream_nb import errors
from seastream_nb.errors import *  # noqa: F403 - every error is importable from the top

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from seastream_nb.aio import (
        AsyncConsumer,
        AsyncProducer,
        AsyncReplay,
        AsyncStream,
        AsyncStreamer,
        connect_async,
    )
    from seastream_nb.backend import StreamInfo
    from seastream_nb.builders import merge
    from seastream_nb.export.report import ExportReport
    from seastream_nb.file.verify import FileReport, repair, verify
    from seastream_nb.listing import Catalog
    from seastream_nb.message import Message, MessageHeader, Receipt
    from seastream_nb.notebook.browse.view import AsyncBrowser, Browser
    from seastream_nb.notebook.live.view import AsyncLiveView, LiveView
    from seastream_nb.receipt import PendingReceipt
    from seastream_nb.resending import ReplayReport
    from seastream_nb.server import EmbeddedServer, embedded
    from seastream_nb.sharders import KeyHashSharder, PseudoRandomSharder, RoundRobinSharder
    from seastream_nb.sync import Consumer, Producer, Replay, Stream, Streamer, connect

__version__ = "0.1.0"

__all__ = [
    "AsyncBrowser",
    "AsyncConsumer",
    "AsyncLiveView",
    "AsyncProducer",
    "AsyncReplay",
    "AsyncStream",
    "AsyncStreamer",
    "Browser",
    "Catalog",
    "Consumer",
    "EmbeddedServer",
    "ExportReport",
    "FileReport",
    "KeyHashSharder",
    "LiveView",
    "Message",
    "MessageHeader",
    "PendingReceipt",
    "Producer",
    "PseudoRandomSharder",
    "Receipt",
    "Replay",
    "ReplayReport",
    "RoundRobinSharder",
    "Stream",
    "StreamInfo",
    "Streamer",
    "connect",
    "connect_async",
    "embedded",
    "errors",
    "merge",
    "repair",
    "verify",
]

_HOMES = {
    "aio": (
        "AsyncConsumer",
        "AsyncProducer",
        "AsyncReplay",
        "AsyncStream",
        "AsyncStreamer",
        "connect_async",
    ),
    "backend": ("StreamInfo",),
    "builders": ("merge",),
    "export.report": ("ExportReport",),
    "file.verify": ("FileReport", "repair", "verify"),
    "listing": ("Catalog",),
    "message": ("Message", "MessageHeader", "Receipt"),
    "notebook.browse.view": ("AsyncBrowser", "Browser"),
    "notebook.live.view": ("AsyncLiveView", "LiveView"),
    "receipt": ("PendingReceipt",),
    "resending": ("ReplayReport",),
    "server": ("EmbeddedServer", "embedded"),
    "sharders": ("KeyHashSharder", "PseudoRandomSharder", "RoundRobinSharder"),
    "sync": ("Consumer", "Producer", "Replay", "Stream", "Streamer", "connect"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext seastream_nb`: the magics `%stream` and `%seastream`."""
    import_module(f"{__name__}.notebook.magics.stream").load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext seastream_nb`: the magics are gone, their connections closed."""
    import_module(f"{__name__}.notebook.magics.stream").unload(shell)
