"""The cloud's own record of an instance, as lines to be read, without secrets. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gpudash.fleet.record import Record
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene


def cloud_record(record: Record, scene: Scene, width: int) -> list[Line]:
    """What the cloud itself says of it, without secrets."""
    if not record.instance.raw:
        return [((" The cloud's own record is not known.", "muted"),)]
    ago = fmt.length(scene.real(scene.now - record.listed_at))
    lines: list[Line] = [((f" as {record.key.account} listed it {ago} ago; secrets are left out", "muted"),), ()]
    text = json.dumps(without_secrets(record.instance.raw), indent=2, default=str, ensure_ascii=False)
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        room = max(20, width - indent - 2)
        pieces = [line.strip()[at : at + room] for at in range(0, max(1, len(line.strip())), room)]
        lines += [((" " * (indent + 1), "text"), *_coloured(fmt.clean(piece))) for piece in pieces]
    return lines


HIDDEN = "(hidden)"
_SECRET = re.compile(r"secret|token|passw|api_?-?key|private_?key|credential|authorization|cookie", re.IGNORECASE)
_ASSIGNED = re.compile(r"(\w+)=(.+)", re.DOTALL)


def without_secrets(value: Any, name: str = "") -> Any:
    """The same without what is named like a secret, also in lists of settings and ``NAME=value``.

    Providers leave secrets out of the record already; this holds for what a cloud adds tomorrow.
    """
    if _SECRET.search(name) and isinstance(value, str | int | float) and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Mapping):
        named = next((str(value[word]) for word in ("key", "name", "Key", "Name") if word in value), "")
        return {
            key: without_secrets(item, named if str(key).lower() == "value" and _SECRET.search(named) else str(key))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple) and _is_secret_pair(value):
        return [value[0], HIDDEN]
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if isinstance(value, str) and (match := _ASSIGNED.fullmatch(value)) and _SECRET.search(match[1]):
        return f"{match[1]}={HIDDEN}"
    return value


def _is_secret_pair(value: Sequence[Any]) -> bool:
    """``["HF_TOKEN", "…"]``, as some clouds write settings."""
    return len(value) == 2 and isinstance(value[0], str) and value[0].isidentifier() and bool(_SECRET.search(value[0]))


_KEYED = re.compile(r'("(?:[^"\\]|\\.)*")(: )(.*)')


def _coloured(text: str) -> Line:
    match = _KEYED.fullmatch(text)
    return ((match[1], "label"), (match[2], "muted"), (match[3], "text")) if match else ((text, "text"),)
