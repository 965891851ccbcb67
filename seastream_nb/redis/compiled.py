"""The loops that numba compiles: over the bytes of a reply, without a Python object an entry.

Importing this module imports numba and compiles, or loads from numba's cache on disk;
`kernel.load` is the only door to it. The three kernels release the GIL.

Shapes. `data` holds the reply from its first entry on, and all offsets count from there.
`ids` is (2, n): ms, sub. `heads` is (n + 1, 3): an entry's first row in `pairs`, offset and length
of its id as text; row n only says where the pairs end. `pairs` is (m, 4): offset and length of a
field's name, of its value.
"""

from __future__ import annotations

import numpy as np

from seastream_nb.jit import Array, byte_at, compiled, inlined

# What `scan` returns. A position below zero means the same inside it.
DONE, MORE, MALFORMED, FULL = 0, -1, -2, -3

# `scan` keeps here where it stands: the offset of what it reads next, how many entries have not
# begun, how many pairs of the present entry are missing, how many of both are written.
AT, ENTRIES_LEFT, PAIRS_LEFT, ENTRIES, PAIRS = range(5)

CR, LF, DOLLAR, STAR, MINUS, ZERO = b"\r\n$*-0"
NIL = -1
# Longer numbers announce what no reply holds: 10 GB of text, a million elements.
TEXT_DIGITS, ARRAY_DIGITS = 10, 6
ID_DIGITS = 20


@inlined
def _number(data: Array, at: int, kind: int, digits: int) -> tuple[int, int]:
    """The number of the line `<kind><number>` at `at` and the place after it, or a status."""
    end = data.size
    if at < end and byte_at(data, at) != kind:
        return 0, MALFORMED
    at += 1
    if at < end and byte_at(data, at) == MINUS:
        return _nil(data, at)
    first = at
    value = 0
    end = min(end, first + digits)
    while at < end and ZERO <= byte_at(data, at) < ZERO + 10:
        value = value * 10 + byte_at(data, at) - ZERO
        at += 1
    if at - first > 1 and byte_at(data, first) == ZERO:
        return 0, MALFORMED
    after = _line_end(data, at)
    return value, MALFORMED if at == first and after != MORE else after


@inlined
def _nil(data: Array, at: int) -> tuple[int, int]:
    """The rest of `-1`, and the place after its line."""
    if at + 1 < data.size and byte_at(data, at + 1) != ZERO + 1:
        return 0, MALFORMED
    return NIL, _line_end(data, at + 2)


@inlined
def _line_end(data: Array, at: int) -> int:
    """The place after the CRLF at `at`, or a status."""
    if at < data.size and byte_at(data, at) != CR:
        return MALFORMED
    if at + 1 >= data.size:
        return MORE
    return at + 2 if byte_at(data, at + 1) == LF else MALFORMED


@inlined
def _text(data: Array, at: int) -> tuple[int, int, int]:
    """Offset and length of the string at `at` and the place after it, or a status."""
    length, start = _number(data, at, DOLLAR, TEXT_DIGITS)
    if start < 0:
        return 0, 0, start
    if length == NIL:
        return 0, 0, MALFORMED
    return start, length, _line_end(data, start + length)


@inlined
def _id_part(data: Array, at: int, end: int) -> tuple[np.uint64, int]:
    """The unsigned 64-bit number at `at` and the place after it; MALFORMED if not canonical."""
    first = at
    value = np.uint64(0)
    end = min(end, first + ID_DIGITS)
    while at < end and ZERO <= byte_at(data, at) < ZERO + 10:
        value = value * np.uint64(10) + np.uint64(byte_at(data, at) - ZERO)
        at += 1
    digits = at - first
    if digits == 0 or (digits > 1 and byte_at(data, first) == ZERO):
        return value, MALFORMED
    # Twenty digits from 2e19 on do not fit; from 2**64 to 2e19 they wrap round to less than 1e19.
    if digits == ID_DIGITS and (byte_at(data, first) > ZERO + 1 or value < np.uint64(10**19)):
        return value, MALFORMED
    return value, at


@inlined
def _id(data: Array, at: int, length: int) -> tuple[np.uint64, np.uint64, bool]:
    """Both parts of the id `ms-sub`, and whether it is one."""
    end = at + length
    ms, dash = _id_part(data, at, end)
    if dash < 0 or dash == end or byte_at(data, dash) != MINUS:
        return ms, ms, False
    sub, after = _id_part(data, dash + 1, end)
    return ms, sub, after == end


@inlined
def _body(data: Array, at: int) -> tuple[int, int]:
    """How many names and values the array at `at` announces and the place after it, or a status.

    A deleted entry that is still pending in a group has nil for its body: as if it were empty.
    """
    if at < data.size and byte_at(data, at) == DOLLAR:
        count, after = _number(data, at, DOLLAR, TEXT_DIGITS)
        return 0, MALFORMED if count != NIL and after > 0 else after
    count, after = _number(data, at, STAR, ARRAY_DIGITS)
    if count == NIL:
        return 0, after
    return count, MALFORMED if count % 2 and after > 0 else after


@inlined
def _entry(data: Array, state: Array, ids: Array, heads: Array) -> int:
    """Read an entry as far as the length of its body."""
    count, at = _number(data, state[AT], STAR, ARRAY_DIGITS)
    if at < 0:
        return at
    if count != 2:
        return MALFORMED
    start, length, at = _text(data, at)
    if at < 0:
        return at
    count, at = _body(data, at)
    if at < 0:
        return at
    ms, sub, canonical = _id(data, start, length)
    if not canonical:
        return MALFORMED
    row = state[ENTRIES]
    ids[0, row] = ms
    ids[1, row] = sub
    heads[row, 0] = state[PAIRS]
    heads[row, 1] = start
    heads[row, 2] = length
    state[AT] = at
    state[ENTRIES] += 1
    state[ENTRIES_LEFT] -= 1
    state[PAIRS_LEFT] = count // 2
    return DONE


@inlined
def _pair(data: Array, state: Array, pairs: Array) -> int:
    """Read a field's name and value."""
    name, name_length, at = _text(data, state[AT])
    if at < 0:
        return at
    value, value_length, at = _text(data, at)
    if at < 0:
        return at
    row = state[PAIRS]
    pairs[row, 0] = name
    pairs[row, 1] = name_length
    pairs[row, 2] = value
    pairs[row, 3] = value_length
    state[AT] = at
    state[PAIRS] += 1
    state[PAIRS_LEFT] -= 1
    return DONE


@compiled("int64(uint8[::1], int64[::1], uint64[:, ::1], int64[:, ::1], int64[:, ::1])")
def scan(data: Array, state: Array, ids: Array, heads: Array, pairs: Array) -> int:
    """Go on reading entries where `state` says.

    Returns:
        DONE; MORE when the bytes, FULL when the room in the arrays is used up; MALFORMED.
    """
    while True:
        if state[PAIRS_LEFT] > 0:
            if state[PAIRS] == len(pairs):
                return FULL
            status = _pair(data, state, pairs)
        elif state[ENTRIES_LEFT] > 0:
            if state[ENTRIES] == ids.shape[1]:
                return FULL
            status = _entry(data, state, ids, heads)
        else:
            heads[state[ENTRIES], 0] = state[PAIRS]
            return DONE
        if status != DONE:
            return status


@inlined
def _same(data: Array, at: int, name: Array) -> bool:
    index = 0
    while index < name.size and byte_at(data, at + index) == name[index]:
        index += 1
    return index == name.size


@compiled("int64(uint8[::1], int64[:, ::1], int64[:, ::1], uint8[::1], int64[::1], int64[::1])")
def find(data: Array, heads: Array, pairs: Array, name: Array, entries: Array, rows: Array) -> int:
    """Write the entry and the row in `pairs` of each field of this name; how many there are."""
    found = 0
    for entry in range(len(heads) - 1):
        for row in range(heads[entry, 0], heads[entry + 1, 0]):
            if pairs[row, 1] == name.size and _same(data, pairs[row, 0], name):
                entries[found] = entry
                rows[found] = row
                found += 1
    return found


@compiled("void(uint8[::1], int64[:, ::1], int64[::1], int32[::1], uint8[::1])")
def gather(data: Array, pairs: Array, rows: Array, offsets: Array, values: Array) -> None:
    """Copy the values of these pairs one after the other, and write where each begins and ends."""
    at = 0
    offsets[0] = 0
    for index in range(len(rows)):
        start, length = pairs[rows[index], 2], pairs[rows[index], 3]
        for byte in range(length):
            values[np.uintp(at + byte)] = byte_at(data, start + byte)
        at += length
        offsets[index + 1] = at
