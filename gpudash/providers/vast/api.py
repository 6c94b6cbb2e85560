"""Vast's origin, the pace that each endpoint allows, and what its answers mean.

Vast says no in several ways: a status with ``{success, error, msg}``, a 200 with ``success: false``, a 404 that means
a refused key (``auth_error``), a 429 in plain words. `error` is its stable word; `msg` is for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.config import credential, vast_session
from gpudash.errors import AuthRefused, NoCapacity, ProviderError, RateLimited
from gpudash.providers.http import Answer, Api, Throttle, Timeouts, Verdict, bearer
from gpudash.providers.http.answer import general, http_date, words_of

if TYPE_CHECKING:
    from gpudash.config import Account

ORIGIN = "https://console.vast.ai"
GONE = frozenset({"no_such_instance", "not_found"})
_NO_ASK = "no_such_ask"
_KINDS: dict[str, type[ProviderError]] = {
    "auth_error": AuthRefused,
    _NO_ASK: NoCapacity,
    "insufficient_credit": ProviderError,
    "missing_billing": ProviderError,
    "spend_rate_limit": ProviderError,
    "invalid_args": ProviderError,
    "search_quota_exceeded": RateLimited,
    "rate_limit_exceeded": RateLimited,
}
_HINTS = {
    "auth_error": f"Make a key at {ORIGIN}/manage-keys/ and put it where the account looks for it.",
    _NO_ASK: "Offers live for minutes; look again with `gpudash offers`.",
    "insufficient_credit": f"Add credit at {ORIGIN}/billing/.",
    "missing_billing": f"Add credit at {ORIGIN}/billing/.",
    "spend_rate_limit": "Vast limits how much a new account may spend an hour; ask its support for more.",
    "invalid_price": "The bid is below what that machine takes now; `gpudash offers --spot` shows that.",
    "two_factor": "Log in with `vastai tfa login`; gpudash then uses that session as long as it lasts.",
    "no_pending_price_increase": "It was answered or taken back meanwhile; its row tells what is asked for now.",
    "deprecated_endpoint": "Vast has moved it; a newer gpudash is needed.",
    "search_quota_exceeded": "The day's searches are used up; Vast counts anew at midnight UTC.",
}
_THRESHOLD = re.compile(r"threshold\s*=\s*(\d+(?:\.\d+)?)")
_TWO_FACTOR = re.compile(r"(?i)two.factor|\b2fa\b")
_LOGGED_OUT = re.compile(r"(?i)session expired|invalid user key|requires login")


@dataclass(frozen=True, slots=True)
class Pace:
    """A throttle for each endpoint. Seconds between two calls are those of Vast's published 429 answers."""

    list: Throttle
    manage: Throttle
    """Start, stop and label."""
    create: Throttle
    destroy: Throttle
    bid: Throttle
    keys: Throttle
    volumes: Throttle
    search: Throttle
    """About ten a minute from one address, as third parties saw it."""

    @classmethod
    def of(cls, clock: Clock) -> Pace:
        """Fresh throttles of one account."""

        def every(seconds: float) -> Throttle:
            return Throttle(clock, (1, seconds))

        return cls(
            list=every(1.0),
            manage=every(1.0),
            create=every(4.5),
            destroy=every(3.0),
            bid=every(5.5),
            keys=every(1.0),
            volumes=every(5.5),
            search=Throttle(clock, (10, 60.0), patience_s=20.0),
        )


class Keys:
    """The two-factor session's key while Vast takes it, else the account's own."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._session: str | None = None
        self._over: set[str] = set()

    def key(self) -> str:
        """The key to use now."""
        session = vast_session(self._account)
        self._session = None if session in self._over else session
        return self._session or credential(self._account)

    def is_another(self) -> bool:
        """The key that was refused was a session's, which is over."""
        if self._session is None:
            return False
        self._over.add(self._session)
        return True


def make_api(account: Account, clock: Clock, timeouts: Timeouts | None) -> Api:
    """One account's way to Vast."""
    keys = Keys(account)
    return Api(
        "Vast",
        account.base_url or ORIGIN,
        bearer(keys.key),
        account=account.name,
        clock=clock,
        judge=judge,
        timeouts=timeouts,
        next_key=keys.is_another,
    )


def judge(answer: Answer) -> Verdict | None:
    """What an answer of Vast's means beyond its status; None where the status says it all."""
    usual, code, words = general(answer), _code(answer), _words(answer)
    if usual is None:
        if answer.get("success") is not False:
            return None
        return Verdict(
            _KINDS.get(code, ProviderError), words, code or "success is false", _HINTS.get(code), None, _facts(answer)
        )
    if _TWO_FACTOR.search(words) and answer.status in (401, 403, 404):
        return Verdict(AuthRefused, words, code or "two_factor", _HINTS["two_factor"])
    if _LOGGED_OUT.search(words) and answer.status in (401, 403, 404):
        return Verdict(AuthRefused, words, code or "auth_error", _HINTS["auth_error"])
    if answer.status == 429:
        return Verdict(RateLimited, words, code or "429", _HINTS.get(code), _wait_s(answer, words))
    if answer.status >= 500:
        return None
    kind = NoCapacity if _NO_ASK in words else _KINDS.get(code, usual.kind)
    hint = _HINTS.get(_NO_ASK if kind is NoCapacity else code) or usual.hint
    return Verdict(kind, words, code or usual.code, hint, None, _facts(answer))


def _code(answer: Answer) -> str:
    code = answer.get("error")
    return code if isinstance(code, str) else ""


def _words(answer: Answer) -> str:
    said = answer.get("msg")
    return " ".join(said.split()).rstrip(".") if isinstance(said, str) and said.strip() else words_of(answer)


def _facts(answer: Answer) -> Mapping[str, object]:
    """A refused create may still have made a contract, which bills its disk."""
    contract = answer.get("new_contract")
    return {"new_contract": contract} if contract else {}


def _wait_s(answer: Answer, words: str) -> float | None:
    """Seconds from the words, or from the moment at which the day's quota begins anew."""
    reset, now = answer.headers.get("x-ratelimit-reset", ""), http_date(answer.headers.get("date", ""))
    if reset.isdecimal() and now is not None:
        return max((datetime.fromtimestamp(int(reset), UTC) - now).total_seconds(), 0.0)
    match = _THRESHOLD.search(words)
    return float(match.group(1)) if match and "retry-after" not in answer.headers else None
