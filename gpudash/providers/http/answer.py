"""One answer of a cloud and what it means. Pure: no network, no clock.

The status is looked at before the body is, because proxies in front of clouds answer 429 and 5xx with web pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from gpudash.errors import AuthRefused, ProviderError, RateLimited, Unreachable

LONGEST_RETRY_AFTER_S = 3600.0
"""A cloud that asks for more is asked again after that."""
WORDS = 300
"""Letters of a cloud's own words that are kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, complete."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """Decoded JSON, fractions as `Decimal`; None where the body is empty or is none."""
    is_json: bool
    """The body could be decoded."""
    is_empty: bool = False
    """There was no body at all."""
    text: str = ""
    """The beginning of a body that is plain words and no JSON."""

    def get(self, name: str) -> Any:
        """A field of the body; None where the body is no object or lacks it."""
        return self.body.get(name) if isinstance(self.body, dict) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer that is not the one hoped for."""

    kind: type[ProviderError]
    """What is raised. `Unreachable` becomes `Ambiguous` where a write was asked."""
    words: str
    """The cloud's own words, without a full stop."""
    code: str = ""
    """The cloud's own stable word for it; comes back as `ProviderError.code`."""
    hint: str | None = None
    retry_after_s: float | None = None
    """For `RateLimited`, where the cloud says it elsewhere than in Retry-After."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What else the adapter has to know; comes back as `ProviderError.facts` and is shown to nobody."""


Judge = Callable[[Answer], Verdict | None]
"""A cloud's own reading of an answer, a 200 too; None leaves it to `general`."""


def decode(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """The answer from its bytes. Whatever is no JSON has `is_json` False; NaN and the like are none."""
    if not content.strip():
        return Answer(status, headers, None, is_json=False, is_empty=True)
    try:
        body = json.loads(content, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        is_plain = headers.get("content-type", "").startswith("text/plain")
        text = " ".join(content[:WORDS].decode(errors="replace").split()) if is_plain else ""
        return Answer(status, headers, None, is_json=False, text=text)
    return Answer(status, headers, body, is_json=True)


def general(answer: Answer) -> Verdict | None:
    """What any answer means by its status alone; None where it is a success."""
    status = answer.status
    if 200 <= status < 300:
        return None
    words, code = words_of(answer), str(status)
    if status == 401:
        return Verdict(AuthRefused, words, code, "Check the key of the account, or make a new one at the cloud.")
    if status == 403:
        return Verdict(AuthRefused, words, code, "The key is not allowed to do that; check it at the cloud.")
    if status == 429:
        return Verdict(RateLimited, words, code)
    if status == 408 or status >= 500 or status < 200:
        return Verdict(Unreachable, words, code)
    if status < 400:
        return Verdict(ProviderError, f"it moved to {_place(answer)}", code, "Check `base_url` of the account.")
    return Verdict(ProviderError, words, code)


def words_of(answer: Answer) -> str:
    """The cloud's own words in an answer, from the places where clouds put them; else the status."""
    for found in (answer.body, answer.get("error"), _first(answer.get("errors"))):
        text = _text(found)
        if text:
            return text[:WORDS]
    if answer.text:
        return answer.text.rstrip(".")
    page = "" if answer.is_json or answer.is_empty else " with a page instead of data"
    return f"HTTP {answer.status}{page}"


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a moment (RFC 9110 §10.2.3); None where it says none."""
    told = headers.get("retry-after", "").strip()
    if not told:
        return None
    if told.replace(".", "", 1).isdecimal():
        seconds = float(told)
    else:
        moment = http_date(told)
        if moment is None:
            return None
        seconds = (moment - (http_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def http_date(text: str) -> datetime | None:
    """A moment as HTTP writes it; None where the text is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(found: Any) -> str | None:
    if isinstance(found, str):
        return " ".join(found.split()).rstrip(".") or None
    if isinstance(found, dict):
        told = (found.get(name) for name in ("message", "msg", "detail", "error", "title"))
        return next((" ".join(text.split()).rstrip(".") for text in told if isinstance(text, str) and text), None)
    return None


def _first(found: Any) -> Any:
    return found[0] if isinstance(found, list) and found else None


def _place(answer: Answer) -> str:
    return answer.headers.get("location", "an unknown place").split("?")[0][:WORDS]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
