"""Where to go on in a file, and what its next beacons must say. Reads, and changes nothing.

    header ─► frame ─► frame ─► … ─► (end mark, torn frame, torn beacon)
                                   └ here what is written goes on

The whole file is read. Its beacons could not stand in for that: SeaStreamer forgets sums, highest
values and streams when it opens a file again, so what a beacon does not name may still be there,
and a running checksum that it says may be of the last messages only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from seastream_nb.errors import FileFormatError
from seastream_nb.file.format import HEADER_SIZE, MAGIC, FileHeader
from seastream_nb.file.scan import Damaged, Scan
from seastream_nb.file.splice import Pair, Splicer


@dataclass(frozen=True)
class Ending:
    """How a file ends, and what it takes to go on.

    Attributes:
        header: what its first 128 bytes say.
        torn: where the message or beacon begins that the file ends inside of; None if there is
            none.
        ended: whether the end-of-stream mark stands at the end.
        splicer: goes on where the last message ends; what is behind that is to be cut off.
    """

    header: FileHeader
    torn: int | None
    ended: bool
    splicer: Splicer

    @property
    def offset(self) -> int:
        """Where the next frame goes, or the beacon before it."""
        return self.splicer.at

    def highest(self) -> dict[Pair, int]:
        """The highest sequence number of each stream and shard."""
        return {marker.place[:2]: marker.place.sequence for marker in self.splicer.markers}


def find_end(file: BinaryIO, size: int, shown: str) -> Ending | None:
    """How the first `size` bytes of an open file end; None if not even a header is whole.

    Raises:
        FileFormatError: it is no `.ss` file, or damaged in a way that no torn write explains; the
            text names it as `shown`, the place, and the way out.
    """
    file.seek(0)
    head = file.read(min(size, HEADER_SIZE))
    if len(head) < HEADER_SIZE and MAGIC.startswith(head[: len(MAGIC)]):
        return None
    try:
        header = FileHeader.parse(head)
    except FileFormatError as error:
        raise FileFormatError(f"{shown}: {error}", offset=error.offset) from None
    scan = Scan(file, size, header.interval)
    try:
        scan.run()
        if scan.begin < size:
            scan.require_torn()
    except Damaged as damage:
        raise FileFormatError(
            f"{shown} is damaged at byte {damage.offset:,} ({damage}), and is not written to: "
            "ss.repair(src, dst) saves every whole message",
            offset=damage.offset,
        ) from None
    ended = scan.ended_at is not None
    return Ending(header, None if scan.begin == size else scan.begin, ended, scan.splicer())
