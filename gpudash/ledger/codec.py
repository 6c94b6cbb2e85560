"""Frozen dataclasses of the model to JSON and back; the one place that knows how.

Reading is tolerant, because a ledger outlives the program that wrote it: unknown fields are ignored, missing ones take
their default, and an optional field that cannot be read counts as missing. Only a required field that is missing or
senseless is an error. Times are ISO 8601 in UTC with microseconds (fixed width, so that text order is time order),
money is the text of a `Decimal`, lengths are seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gpudash.clock import parse_iso

T = TypeVar("T")
_Reader = Callable[[Any], Any]


def stamp(moment: datetime) -> str:
    """A moment as text that sorts by time: ``2026-03-01T12:00:00.000000Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def moment(text: str) -> datetime:
    """Read what `stamp` wrote, or any ISO 8601 time with a zone."""
    return datetime.fromisoformat(text) if text.endswith("Z") else parse_iso(text)


def dumps(value: object) -> str:
    """Any value of the model as compact JSON."""
    return json.dumps(pack(value), ensure_ascii=False, separators=(",", ":"))


def loads(cls: type[T], text: str) -> T:
    """One `cls` from what `dumps` wrote.

    Raises:
        ValueError: no JSON, or a required field is missing or senseless.
    """
    return unpack(cls, json.loads(text))


def pack(value: object) -> Any:
    """The same value in JSON's own types. A field that holds its default is left out."""
    kind = value.__class__
    return value if kind in _PLAIN else _packer(cast(Hashable, kind))(value)


def unpack(cls: type[T], plain: object) -> T:
    """One `cls` from the mapping `pack` made.

    Raises:
        ValueError: it is no mapping, or a required field is missing or senseless.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"{cls.__name__}: expected a mapping, found {type(plain).__name__}")
    found: dict[str, Any] = {}
    for name, read, required in _plan(cast(Hashable, cls)):
        if name in plain:
            try:
                found[name] = read(plain[name])
            except (ValueError, TypeError, InvalidOperation) as exc:
                if required:
                    raise ValueError(f"{cls.__name__}.{name}: {exc}") from exc
        elif required:
            raise ValueError(f"{cls.__name__}.{name} is missing")
    return cls(**found)


_PLAIN = frozenset({str, int, float, bool, NoneType})


def _is_required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


@cache
def _packer(kind: Any) -> _Reader:
    """How values of exactly this class are packed: a long list has a hundred thousand of a dozen classes."""
    if issubclass(kind, Enum):
        return lambda value: value.value
    if issubclass(kind, datetime):
        return stamp
    if issubclass(kind, timedelta):
        return timedelta.total_seconds
    if issubclass(kind, Mapping):
        return lambda value: {str(name): pack(item) for name, item in value.items()}
    if issubclass(kind, tuple | list | set | frozenset):
        return lambda value: [pack(item) for item in value]
    return _fields_packer(kind) if is_dataclass(kind) else str


def _fields_packer(kind: Any) -> _Reader:
    pairs = tuple((item.name, item.default) for item in fields(kind))

    def packed(value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, default in pairs:
            item = getattr(value, name)
            if item is not default:
                found[name] = item if item.__class__ in _PLAIN else pack(item)
        return found

    return packed


@cache
def _plan(cls: Any) -> tuple[tuple[str, _Reader, bool], ...]:
    hints = get_type_hints(cls)
    return tuple((item.name, _reader(hints[item.name]), _is_required(item)) for item in fields(cls))


def _reader(hint: Any) -> _Reader:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        (inner,) = (arm for arm in get_args(hint) if arm is not NoneType)
        return _optional(_reader(inner))
    if origin is tuple:
        return _sequence(_reader(get_args(hint)[0]))
    if origin is dict or hint is dict:
        return _mapping
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _member(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda plain: unpack(hint, plain)
    return lambda plain: plain


def _optional(read: _Reader) -> _Reader:
    return lambda plain: None if plain is None else read(plain)


def _sequence(read: _Reader) -> _Reader:
    def sequence(plain: Any) -> tuple[Any, ...]:
        if not isinstance(plain, list):
            raise ValueError(f"expected a list, found {plain!r}")
        return tuple([read(item) for item in plain])

    return sequence


def _member(kind: type[Enum]) -> _Reader:
    def member(plain: Any) -> Enum:
        try:
            return kind(plain)
        except ValueError:
            if "UNKNOWN" in kind.__members__:
                return kind["UNKNOWN"]
            raise

    return member


def _exactly(*kinds: type) -> _Reader:
    def check(plain: Any) -> Any:
        if plain.__class__ not in kinds:
            raise ValueError(f"expected {kinds[0].__name__}, found {plain!r}")
        return plain

    return check


def _mapping(plain: Any) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise ValueError(f"expected a mapping, found {plain!r}")
    return plain


_SCALARS: dict[Any, _Reader] = {
    str: _exactly(str),
    bool: _exactly(bool),
    int: _exactly(int),
    float: _exactly(float, int),
    datetime: moment,
    timedelta: lambda plain: timedelta(seconds=plain),
    Decimal: lambda plain: Decimal(plain),
}
