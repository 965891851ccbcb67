"""Commands on `.ss` files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

import seastream_nb as ss
from seastream_nb.cli.options import (
    AsJson,
    DecodeFormat,
    File,
    Format,
    HeaderOnly,
    NewFile,
)
from seastream_nb.cli.output import FAILED, note, print_bytes, print_json, print_table
from seastream_nb.file.forward import Forward, open_forward
from seastream_nb.file.printing import beacon_line, frame_printer, header_line

if TYPE_CHECKING:
    from seastream_nb.file.verify import FileReport


def decode(file: File, form: Format = DecodeFormat.LOG, header_only: HeaderOnly = False) -> None:
    """Print an .ss file as SeaStreamer's ss-decode does, byte for byte.

    Ends after the end-of-stream mark, or with a warning where the file ends inside a message.
    A message that does not fit its CRC is an error: exit status 1.
    """
    with open_forward(file) as forward:
        print_bytes(_decoded(forward, form, header_only))
    if forward.torn is not None:
        note(
            f"warning: {file} ends inside the message at offset {forward.torn:,}; "
            "all before it was printed"
        )


def _decoded(forward: Forward, form: DecodeFormat, header_only: bool) -> Iterator[bytes]:
    line = frame_printer(form.value, header_only=header_only)
    yield header_line(forward.header, form.value)
    for frame, beacon in forward:
        yield line(frame)
        if beacon is not None:
            yield beacon_line(beacon, form.value)


def verify(file: File, as_json: AsJson = False) -> None:
    """Check an .ss file from end to end.

    Exit status 1 when there is a fault, or when the file ends inside a message.
    """
    report = ss.verify(file)
    _show(report, as_json)
    if not report.ok:
        raise typer.Exit(FAILED)


def repair(src: File, dst: NewFile, as_json: AsJson = False) -> None:
    """Write every intact message of FILE to a new file DST, and say what was wrong."""
    _show(ss.repair(src, dst), as_json)


def _show(report: FileReport, as_json: bool) -> None:
    streams = [
        {"key": key, "shard": shard, "messages": count}
        for (key, shard), count in report.streams.items()
    ]
    if as_json:
        print_json(
            {
                "path": str(report.path),
                "ok": report.ok,
                "messages": report.messages,
                "streams": streams,
                "beacons": report.beacons,
                "faults": [{"offset": offset, "text": text} for offset, text in report.faults],
                "torn_tail": report.torn_tail,
            }
        )
        return
    from seastream_nb.notebook.display import Column

    faults = [*report.faults]
    if report.torn_tail is not None:
        faults.append((report.torn_tail, "the file ends inside this message"))
    counts = f"{report.messages:,} whole messages, {report.beacons:,} beacons"
    found = "1 fault" if len(faults) == 1 else f"{len(faults) or 'no'} faults"
    print_bytes([f"{report.path}: {counts}, {found}\n".encode()])
    if streams:
        columns = (Column("stream"), Column("shard", right=True), Column("messages", right=True))
        print_table(columns, [[str(value) for value in each.values()] for each in streams])
    if faults:
        places = (Column("offset", right=True), Column("fault"))
        print_table(places, [[str(offset), text] for offset, text in faults])
