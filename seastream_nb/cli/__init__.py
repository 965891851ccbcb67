"""The command line: `seastream`, which is also `python -m seastream_nb`.

A command is a function of `files.py` or `streams.py`; what it prints and how it fails is
`output.py`. The exit status is 0, 1 for what failed, 2 for what cannot be meant, 130 for an
interrupt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

import seastream_nb as ss
from seastream_nb.cli import files, sending, streams
from seastream_nb.cli.output import INTERRUPTED, print_bytes, reported

app = typer.Typer(
    name="seastream",
    help="Read Redis Streams and SeaStreamer's .ss files.",
    no_args_is_help=True,
    # A traceback of ours with its variables could show a password.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show is no reason to fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="seastream")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _version(wanted: bool) -> None:
    if wanted:
        print_bytes([f"seastream {ss.__version__}\n".encode()])
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _demo() -> None:
    """See the main job done on real data, on a private server."""
    from seastream_nb import demo

    demo.main()


def _add(name: str, command: Callable[..., None], *examples: str) -> None:
    epilog = "\n\n".join(["Examples:", *examples])
    app.command(name, epilog=epilog)(reported(command))


_add("demo", _demo, "seastream demo")
_add(
    "ls",
    streams.ls,
    "seastream ls --from redis://localhost",
    "seastream ls 'app:*' --json",
)
_add("info", streams.info, "seastream info ticks", "seastream info ticks --json")
_add(
    "read",
    streams.read,
    "seastream read ticks --since 02:10 --until 02:20 --json-payload",
    "seastream read ticks --last 10m --json > ticks.ndjson",
    "seastream read ticks --last 100 --shard 0 --shard 2",
)
_add(
    "tail",
    streams.tail,
    "seastream tail ticks -n 3",
    "seastream tail ticks --follow --json-payload",
)
_add(
    "dump",
    streams.dump,
    "seastream dump ticks ticks.ss --since 2026-11-22 --until 2026-11-23",
    "seastream dump ticks orders both.ss --resume",
    "seastream dump ticks - | ssh archive 'cat > ticks.ss'",
)
_add(
    "record",
    streams.record,
    "seastream record ticks ticks.ss --for 10m",
    "seastream record ticks ticks.ss --since latest -n 1000",
)
_add(
    "replay",
    sending.replay,
    "seastream replay ticks --from ticks.ss --speed 10",
    "seastream replay ticks --from ticks.ss --to redis://localhost --speed max",
)
_add(
    "relay",
    sending.relay,
    "seastream relay --input redis://one/ticks --output redis://two/ticks --group copy",
    "seastream relay --input redis://localhost/ticks --output stdio:///ticks | grep EUR",
)
_add(
    "trim",
    streams.trim,
    "seastream trim ticks --max-len 1000000",
    "seastream trim ticks --before -7d --exact",
)
_add(
    "decode",
    files.decode,
    "seastream decode ticks.ss | head",
    "seastream decode ticks.ss --format ndjson > ticks.ndjson",
)
_add("verify", files.verify, "seastream verify ticks.ss", "seastream verify ticks.ss --json")
_add("repair", files.repair, "seastream repair torn.ss whole.ss")
