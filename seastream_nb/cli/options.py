"""What commands take: arguments and options with the same name mean the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


class DecodeFormat(StrEnum):
    """How `decode` prints a file."""

    LOG = "log"
    NDJSON = "ndjson"


AsJson = Annotated[bool, Option("--json", help="Print JSON lines, one object a row.")]

# Files.
File = Annotated[Path, Argument(metavar="FILE", help="An .ss file.", show_default=False)]
NewFile = Annotated[
    Path, Argument(metavar="DST", help="A new file; never overwritten.", show_default=False)
]
Format = Annotated[
    DecodeFormat, Option("--format", help="Lines to read, or a JSON object a message.")
]
HeaderOnly = Annotated[bool, Option("--header-only", help="Leave out the payloads.")]

# Which stream, and where.
From = Annotated[
    str | None,
    Option(
        "--from",
        metavar="TARGET",
        help="A URL such as redis://localhost, an .ss file, or the name of a connection in "
        "seastream.toml. Left out: $SEASTREAM_URL.",
        show_default=False,
    ),
]
Key = Annotated[str, Argument(metavar="KEY", help="The stream.", show_default=False)]
Pattern = Annotated[
    str | None,
    Argument(metavar="PATTERN", help="A glob pattern for stream keys.", show_default=False),
]

Keys = Annotated[
    list[str], Argument(metavar="KEY...", help="The stream, or several.", show_default=False)
]

# Where they go.
ExportFile = Annotated[
    Path,
    Argument(metavar="FILE", help="The .ss file; - for a pipe after this.", show_default=False),
]
RecordFile = Annotated[Path, Argument(metavar="FILE", help="The .ss file.", show_default=False)]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace a file that is there.")]
Resume = Annotated[
    bool,
    Option("--resume", help="Go on where a stopped run left FILE.part, and leave it when stopped."),
]
For = Annotated[
    str | None,
    Option("--for", metavar="W", help="How long, such as 10m.", show_default=False),
]
Most = Annotated[
    int | None, Option("-n", min=1, metavar="N", help="At most N messages.", show_default=False)
]

# Which messages.
ReferenceBounds = Annotated[
    bool,
    Option(
        "--reference-bounds",
        help="Read --since and --until as SeaStreamer's own tool does: in UTC, messages of the "
        "millisecond of --since are out, those of --until in.",
    ),
]
Since = Annotated[
    str | None,
    Option(
        metavar="WHEN",
        help="From this time on: ISO text, -10m, 02:10, or an entry id.",
        show_default=False,
    ),
]
Until = Annotated[str | None, Option(metavar="WHEN", help="Before this time.", show_default=False)]
Last = Annotated[
    str | None,
    Option(metavar="N|W", help="The last N messages, or a window such as 10m.", show_default=False),
]
First = Annotated[int | None, Option(metavar="N", help="The first N messages.", show_default=False)]
Shards = Annotated[
    list[int] | None,
    Option("--shard", metavar="N", help="Only this shard; may be repeated.", show_default=False),
]
Limit = Annotated[
    int | None, Option(min=0, metavar="N", help="Print at most N rows.", show_default=False)
]
Count = Annotated[int, Option("-n", min=0, metavar="N", help="How many messages.")]
Follow = Annotated[bool, Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]

# What they become.
JsonPayload = Annotated[
    bool, Option("--json-payload", help="Payloads are JSON: a column for each of its keys.")
]
Text = Annotated[bool, Option("--text", help="Payloads are text, which must be UTF-8.")]
EveryField = Annotated[bool, Option("--fields", help="A column for each field of the entries.")]

# What stays.
MaxLen = Annotated[
    int | None,
    Option(
        "--max-len",
        metavar="N",
        help="Keep the newest N entries of each shard.",
        show_default=False,
    ),
]
Before = Annotated[
    str | None,
    Option(metavar="WHEN", help="Keep entries of this time or later.", show_default=False),
]
Exact = Annotated[
    bool,
    Option(
        "--exact",
        help="Remove all that is meant, not only whole blocks of about a hundred entries.",
    ),
]


class StartOf(StrEnum):
    """Where a relay begins."""

    START = "start"
    END = "end"


# Sending on.
To = Annotated[
    str | None,
    Option(
        "--to",
        metavar="TARGET",
        help="A URL such as redis://localhost or redis://localhost/ticks, or file://copy.ss.",
        show_default=False,
    ),
]
Speed = Annotated[
    str, Option("--speed", metavar="FACTOR", help="1 is the original pace, max does not wait.")
]
Now = Annotated[bool, Option("--now", help="Stamp the messages anew, instead of with their ids.")]
Input = Annotated[
    str,
    Option("--input", metavar="URL", help="As redis://localhost/ticks or stdio:///ticks."),
]
Output = Annotated[str, Option("--output", metavar="URL", help="As --input, with one key.")]
Offset = Annotated[
    StartOf, Option("--offset", help="Begin with the oldest message, or with what comes.")
]
Group = Annotated[
    str | None,
    Option(
        "--group",
        metavar="NAME",
        help="Share the input with other relays of this consumer group, and go on after it.",
        show_default=False,
    ),
]
