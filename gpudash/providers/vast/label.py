"""Name, token and limits of an instance in its one label: ``train-1 [gpudash managed=true launch-token=… …]``.

A label can be changed at any time, so it carries what tags carry elsewhere. A person who edits the name in Vast's console
and leaves the brackets alone breaks nothing; the token also stands in the environment the instance was made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from gpudash.model.tags import LAUNCH_TOKEN, PREFIX

LIMIT = 1024
"""Characters that Vast takes."""
VARIABLE = "GPUDASH_LAUNCH_TOKEN"
ASKED = f"{PREFIX}asked"
"""``stop`` while it was us who stopped it: an outbid instance looks the same otherwise."""
KEY = f"{PREFIX}key"
"""Name of the SSH key it was launched with."""
SERVICE_PORT = f"{PREFIX}service-port"
_MARKED = re.compile(r"(?s)(.*?)\s*\[gpudash ([^\]]*)\]\s*")
_PLAIN = ":-._,~"


def write(name: str, marks: Mapping[str, str]) -> str:
    """A label; empty marks are left out, and a long name is cut so that all marks fit."""
    told = " ".join(
        f"{key.removeprefix(PREFIX)}={quote(value, safe=_PLAIN)}" for key, value in sorted(marks.items()) if value
    )
    if not told:
        return name[:LIMIT]
    tail = f" [gpudash {told}]"
    return f"{name[: LIMIT - len(tail)].rstrip()}{tail}".lstrip()


def read(label: object) -> tuple[str, dict[str, str]]:
    """The name in a label, and our marks by their full names; a label that is not ours is all name."""
    text = label if isinstance(label, str) else ""
    match = _MARKED.fullmatch(text)
    if match is None:
        return text.strip(), {}
    pairs = (word.partition("=") for word in match.group(2).split())
    return match.group(1).strip(), {f"{PREFIX}{key}": unquote(value) for key, _, value in pairs if key}


def token_of(record: Mapping[str, Any], marks: Mapping[str, str]) -> str | None:
    """The token of the launch that made it, from the label, else from its environment; None for somebody else's."""
    if marks.get(LAUNCH_TOKEN):
        return marks[LAUNCH_TOKEN]
    variables = record.get("extra_env")
    for pair in variables if isinstance(variables, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and pair[0] == VARIABLE and isinstance(pair[1], str):
            return pair[1]
    return None
