"""Our token on an instance: in a tag, and in the name for versions of the API that drop tags.

Tags cannot be changed after the launch, and a person may rename an instance; either alone is enough to find it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpudash.model.tags import LAUNCH_TOKEN, MANAGED

NAME_LIMIT = 64
_MARK = " gpudash#"
_MARKED = re.compile(r"(?s)(.*?) gpudash#([A-Za-z0-9-]{6,40})")


def marked_name(name: str, token: str) -> str:
    """The name to launch with; a long one is cut so that the whole token fits."""
    return f"{name[: NAME_LIMIT - len(_MARK) - len(token)].rstrip()}{_MARK}{token}"


def shown_name(name: str) -> str:
    """The name without our mark."""
    match = _MARKED.fullmatch(name)
    return match.group(1) if match else name


def launch_tags(token: str) -> list[dict[str, str]]:
    """The tags to launch with."""
    return [{"key": MANAGED, "value": "true"}, {"key": LAUNCH_TOKEN, "value": token}]


def token_of(record: Mapping[str, Any]) -> str | None:
    """The token that an instance carries; None for somebody else's."""
    for tag in record.get("tags") or []:
        if isinstance(tag, dict) and tag.get("key") == LAUNCH_TOKEN and isinstance(tag.get("value"), str):
            return str(tag["value"])
    match = _MARKED.fullmatch(str(record.get("name") or ""))
    return match.group(2) if match else None
