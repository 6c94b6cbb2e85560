"""Sorts of values a setting can have: how each is read from TOML, and what a wrong one is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import Field, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from gpudash.errors import UsageError
from gpudash.model.duration import parse_duration
from gpudash.model.policy import EndAction


class Kind(NamedTuple):
    """One sort of value: what a wrong one is told, and how a right one is read (ValueError where it is not)."""

    name: str
    wanted: str
    read: Callable[[Any], Any]


def _exact(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value.__class__ is not kind or value == "":
            raise ValueError
        return value

    return read


def _duration(value: Any) -> timedelta:
    try:
        return parse_duration(_exact(str)(value))
    except UsageError as exc:
        raise ValueError(exc.text) from exc


def _money(value: Any) -> Decimal:
    if value.__class__ not in (int, Decimal) or not Decimal(value).is_finite() or value <= 0:
        raise ValueError
    return Decimal(value)


def _port(value: Any) -> int:
    if value.__class__ is not int or not 0 < value < 65536:
        raise ValueError
    return int(value)


def _url_path(value: Any) -> str:
    if not re.fullmatch(r"/[!-~]*", _exact(str)(value)):
        raise ValueError
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(item.__class__ is str and item for item in value):
        raise ValueError
    return tuple(value)


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex

        value = shlex.split(value)
    return _names(value)


def _variable(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", _exact(str)(value)):
        raise ValueError
    return str(value)


def _file(value: Any) -> Path:
    path = Path(_exact(str)(value)).expanduser()
    if not path.is_absolute():
        raise ValueError
    return path


def _origin(value: Any) -> str:
    parts = urlsplit(_exact(str)(value))
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bare or parts.port == 0:
        raise ValueError
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError
    return str(value).rstrip("/")


def _is_loopback(host: str) -> bool:
    """This machine, by a name that no resolver can lead elsewhere, or by its address."""
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


CONSENT_SENTENCE = "I accept that whoever gets into a host of this account can use its key for everything"
"""What a person writes, in so many words, before a key for a whole account is put on its hosts."""


def _consent(value: Any) -> bool:
    if value != CONSENT_SENTENCE:
        raise ValueError
    return True


TEXT = Kind("text", "text in quotes", _exact(str))
FLAG = Kind("true or false", "true or false, without quotes", _exact(bool))
DURATION = Kind("duration", "a duration in quotes", _duration)
ACTION = Kind("stop, hibernate or terminate", "stop, hibernate or terminate", EndAction)
MONEY = Kind("USD", "a sum in USD above zero, without quotes", _money)
PORT = Kind("port", "a port from 1 to 65535, without quotes", _port)
URL_PATH = Kind("path", "a path that begins with /", _url_path)
NAMES = Kind("list of names", "a list of names", _names)
VARIABLE = Kind("variable", "the name of an environment variable", _variable)
FILE = Kind("file", "an absolute path, or one that begins with ~/", _file)
COMMAND = Kind("command", "a command line, or a list of words", _command)
ORIGIN = Kind(
    "URL",
    "scheme, host and port only, and https unless it is on this machine, or the key would cross the network readable",
    _origin,
)
CONSENT = Kind("sentence", f'exactly this sentence, if that is what you want: "{CONSENT_SENTENCE}"', _consent)


def setting(kind: Kind, example: str, default: Any = None, only: str | None = None) -> Any:
    """A field that the file may set; `only` names the one provider it has a meaning for."""
    return field(default=default, metadata={"kind": kind, "example": example, "only": only})


def shown(value: Any) -> str:
    """A value as the file has it, cut short where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def kind_of(item: Field[Any]) -> Kind:
    """The sort of a field that `setting` made."""
    return cast(Kind, item.metadata["kind"])
