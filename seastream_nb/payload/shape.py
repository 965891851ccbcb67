"""Shapes: what values of JSON look like, and what a column of several shapes becomes.

A shape is None (only nulls), "string", "boolean", a `Number` range, `Items` of a list, or a
dict from the keys of an object to shapes. Shapes merge: ints that meet floats become floats,
objects and lists merge inside; any other change is a `MisfitError`.

No number is ever changed in silence. An int64 column grows to uint64 while all its values fit, and
to float64 only while a float holds each of its integers exactly, which is up to 2**53.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from seastream_nb.payload.faults import MisfitError

EXACT_FLOAT = 2**53
_MIN_INT64, _MAX_INT64, _MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1


class Number(NamedTuple):
    """Numbers: the range of the integers among them, and whether there are floats too."""

    low: int = 0
    high: int = 0
    real: bool = False


class Items(NamedTuple):
    """A list whose items all merge to one shape."""

    of: Shape


Shape = None | Literal["string", "boolean"] | Number | Items | dict[str, "Shape"]


def shape_of(value: Any) -> Shape:
    """The shape of one parsed JSON value.

    >>> shape_of({"a": [1, 2.5], "b": None})
    {'a': Items(of=Number(low=0, high=1, real=True)), 'b': None}

    Raises:
        MisfitError: the items of a list do not merge, or an integer fits no 64 bits.
    """
    kind = type(value)
    if kind is int:
        return _checked(Number(value, value))
    if kind is dict:
        return shape_of_object(value)
    return _shape_of_list(value) if kind is list else _PLAIN[kind]


def shape_of_object(value: dict[str, Any]) -> dict[str, Shape]:
    """The shapes of the values of an object."""
    found: dict[str, Shape] = {}
    key = ""
    try:
        for key, item in value.items():
            found[key] = shape_of(item)
    except MisfitError as misfit:
        raise misfit.under(key) from None
    return found


def _shape_of_list(value: list[Any]) -> Items:
    merged: Shape = None
    try:
        for item in value:
            merged = merge(merged, shape_of(item))
    except MisfitError as misfit:
        raise misfit.under("[]") from None
    return Items(merged)


def merge(have: Shape, new: Shape) -> Shape:
    """The shape that holds both.

    >>> merge({"a": Number(1, 9)}, {"a": Number(real=True), "b": "string"})
    {'a': Number(low=0, high=9, real=True), 'b': 'string'}

    Raises:
        MisfitError: nothing holds both; the path says where.
    """
    if have == new or new is None:
        return have
    if have is None:
        return new
    if isinstance(have, Number) and isinstance(new, Number):
        low, high = min(have.low, new.low), max(have.high, new.high)
        return _checked(Number(low, high, have.real or new.real))
    if isinstance(have, Items) and isinstance(new, Items):
        try:
            return Items(merge(have.of, new.of))
        except MisfitError as misfit:
            raise misfit.under("[]") from None
    if isinstance(have, dict) and isinstance(new, dict):
        return merge_objects(have, new)
    raise MisfitError(f"changes from {_noun(have)} to {_noun(new)}")


def merge_objects(have: dict[str, Shape], new: dict[str, Shape]) -> dict[str, Shape]:
    """The shapes that hold both objects, with the keys of the first first."""
    merged = dict(have)
    key = ""
    try:
        for key, item in new.items():
            merged[key] = merge(have.get(key), item)
    except MisfitError as misfit:
        raise misfit.under(key) from None
    return merged


def holds(have: Shape, new: Shape) -> bool:
    """Whether a column fixed to the first shape holds all of the second.

    >>> holds({"a": Number()}, {"a": Number(5, 5)}), holds({"a": Number()}, {"b": "string"})
    (True, False)

    Raises:
        MisfitError: they contradict each other, so that not even a part fits.
    """
    if new is None or have is None:
        return new is None
    if isinstance(have, dict) and isinstance(new, dict):
        return _holds_keys(have, new)
    merged = merge(have, new)
    if isinstance(have, Items) and isinstance(new, Items):
        try:
            return holds(have.of, new.of)
        except MisfitError as misfit:
            raise misfit.under("[]") from None
    if merged != have and type_of(merged) != type_of(have):
        raise MisfitError(f"a number that does not fit {type_of(have)}")
    return True


def _holds_keys(have: dict[str, Shape], new: dict[str, Shape]) -> bool:
    # No early end at a key that is too large: a later one may contradict.
    held = True
    key = ""
    try:
        for key, item in new.items():
            held = holds(have.get(key), item) and held
    except MisfitError as misfit:
        raise misfit.under(key) from None
    return held


def type_of(shape: Shape) -> pa.DataType:
    """The Arrow type of a shape.

    >>> type_of({"a": Items(Number(0, 2**63))})
    StructType(struct<a: list<item: uint64>>)
    """
    match shape:
        case "string":
            return pa.string()
        case "boolean":
            return pa.bool_()
        case Number():
            if shape.real:
                return pa.float64()
            return pa.uint64() if shape.high > _MAX_INT64 else pa.int64()
        case Items():
            return pa.list_(type_of(shape.of))
        case dict():
            return pa.struct([(key, type_of(of)) for key, of in shape.items()])
    return pa.null()


def shape_of_type(kind: pa.DataType) -> Shape:
    """The shape of a column fixed to a type that `type_of` gives.

    >>> shape_of_type(pa.list_(pa.uint64()))
    Items(of=Number(low=0, high=18446744073709551615, real=False))
    """
    if pa.types.is_struct(kind):
        return {field.name: shape_of_type(field.type) for field in kind}
    if pa.types.is_list(kind):
        return Items(shape_of_type(kind.value_type))
    return _SCALARS[kind]


def shape_of_array(array: pa.Array) -> Shape:
    """The shape of a column that Arrow read, with the range of its integers.

    >>> shape_of_array(pa.array([None, 3, -1]))
    Number(low=-1, high=3, real=False)

    Raises:
        MisfitError: never for what `type_of` gives.
    """
    kind = array.type
    if pa.types.is_struct(kind):
        return {
            field.name: shape_of_array(child)
            for field, child in zip(kind, array.flatten(), strict=True)
        }
    if pa.types.is_list(kind):
        return Items(shape_of_array(array.flatten()))
    if pa.types.is_integer(kind):
        ends = pc.min_max(array).as_py()
        return None if ends["min"] is None else Number(ends["min"], ends["max"])
    return _SCALARS[kind]


def _checked(number: Number) -> Number:
    low, high = (
        (-EXACT_FLOAT, EXACT_FLOAT)
        if number.real
        else (0, _MAX_UINT64)
        if number.high > _MAX_INT64
        else (_MIN_INT64, _MAX_INT64)
    )
    if low <= number.low and number.high <= high:
        return number
    if number.real:
        raise MisfitError("floats together with integers that no float holds exactly")
    raise MisfitError("integers that fit neither int64 nor uint64")


def _noun(shape: Shape) -> str:
    match shape:
        case Number():
            return "number"
        case Items():
            return "list"
        case dict():
            return "object"
    return str(shape)


_PLAIN: dict[type, Shape] = {
    type(None): None,
    bool: "boolean",
    str: "string",
    float: Number(real=True),
}
_SCALARS: dict[pa.DataType, Shape] = {
    pa.null(): None,
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.int64(): Number(),
    pa.uint64(): Number(0, _MAX_UINT64),
    pa.float64(): Number(real=True),
}
