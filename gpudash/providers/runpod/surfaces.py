"""RunPod's three origins and what their answers mean.

| surface | origin | asked for |
|---|---|---|
| REST v2 | ``https://api.runpod.io`` | pods, catalogue, volumes, endpoints |
| GraphQL | the same | the balance: nothing else has it |
| data plane | ``https://api.runpod.ai`` | jobs and queues of endpoints; its ``/v2`` is another one |

`base_url` of the account replaces the first, `serverless_url` the last (else `base_url` does, where it is set).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpudash.clock import Clock
from gpudash.config import Account
from gpudash.errors import AuthRefused, GpudashError, NoCapacity, ProviderError, RateLimited
from gpudash.providers.http import Answer, Api, Judge, Timeouts, Verdict, bearer
from gpudash.providers.http.answer import words_of

ORIGIN, DATA_PLANE = "https://api.runpod.io", "https://api.runpod.ai"
PAGES_AT_MOST = 200
HELD_BACK_S = 10.0
"""The longest that a call waits for a used-up limit; one that would wait longer is refused before it is sent."""
_NO_CAPACITY = re.compile(
    r"no longer any instances available|does not have the resources|not enough free gpus|no instances? (are )?available"
    r"|supply_constraint|out of (stock|capacity)|no capacity|insufficient capacity",
    re.IGNORECASE,
)
_WINDOW = re.compile(r'"\w+"\s*;\s*r=(\d+)\s*;\s*t=(\d+)')


@dataclass(frozen=True, slots=True)
class Surfaces:
    """All that is asked, for one account."""

    rest: Api
    catalogue: Api
    """The same origin, waited for less long: a listing does without names of GPUs rather than come late."""
    graphql: Api
    jobs: Api

    def close(self) -> None:
        """Let go of all connections."""
        for api in (self.rest, self.catalogue, self.graphql, self.jobs):
            api.close()


class Quota:
    """What REST v2 says in each answer of the calls that are left; the next one waits where none is. Any thread.

    Source: the header ``RateLimit: "minute";r=0;t=12, …`` on every authenticated answer (r left, t seconds until the
    window opens again).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._closed_until = float("-inf")

    def judge(self, answer: Answer) -> Verdict | None:
        """As `judge`, having read the header."""
        if "ratelimit" in answer.headers:
            self._closed_until = self._clock.monotonic() + (_used_up_s(answer.headers) or 0.0)
        return judge(answer)

    def wait(self, doing: str) -> None:
        """Return when the next call may leave.

        Raises:
            RateLimited: that is longer off than a call is held back. Nothing was sent.
        """
        wait_s = self._closed_until - self._clock.monotonic()
        if wait_s > HELD_BACK_S:
            text = f"Could not {doing}: RunPod's limit of requests is used up for {wait_s:.0f} s."
            raise RateLimited(text, retry_after_s=wait_s)
        if wait_s > 0:
            self._clock.sleep(wait_s)


def surfaces(account: Account, clock: Clock, key: Callable[[], str], timeouts: Timeouts | None = None) -> Surfaces:
    """Make them; nothing is asked, and the key is not fetched yet. `timeouts`: instead of each one's own."""
    origin = account.base_url or ORIGIN
    data_plane = account.serverless_url or account.base_url or DATA_PLANE

    quota = Quota(clock)

    def api(base: str, judge: Judge, own: Timeouts | None = None, gate: Quota | None = None) -> Api:
        return Api(
            "RunPod",
            base,
            bearer(key),
            account=account.name,
            clock=clock,
            judge=judge,
            timeouts=timeouts or own,
            throttle=gate,
        )

    return Surfaces(
        rest=api(f"{origin}/v2", quota.judge, gate=quota),
        catalogue=api(f"{origin}/v2", quota.judge, Timeouts(read=8.0, total=10.0), quota),
        graphql=api(f"{origin}/graphql", judge_graphql, Timeouts(total=15.0)),
        jobs=api(f"{data_plane}/v2", judge),
    )


def judge(answer: Answer) -> Verdict | None:
    """REST v2: capacity, balance and validation come as 4xx whose only code is the status, so texts are read."""
    words, code = _words(answer), str(answer.status)
    if answer.status == 400 and _NO_CAPACITY.search(words):
        return Verdict(NoCapacity, words, code, "Choose another type, another data centre, or the other cloud.")
    if answer.status == 402:
        return Verdict(ProviderError, words, code, "The balance is too low: add credit at RunPod.")
    if answer.status == 403 and "1010" in words:
        return Verdict(
            AuthRefused, words, code, "RunPod's edge refused this client; a proxy may change its User-Agent."
        )
    if answer.status == 410:
        return Verdict(ProviderError, words, code, "RunPod has switched that API off; look for a newer gpudash.")
    if answer.status in (400, 404, 409, 422):
        return Verdict(ProviderError, words, code)
    if answer.status == 429:
        return Verdict(RateLimited, words, code, retry_after_s=_window_s(answer.headers))
    return None


def judge_graphql(answer: Answer) -> Verdict | None:
    """GraphQL says no inside a 200."""
    errors = answer.get("errors")
    if answer.status < 300 and isinstance(errors, list) and errors:
        words = words_of(answer)
        refused = re.search(r"unauthori[sz]ed|not authenticated|forbidden", words, re.IGNORECASE)
        return Verdict(AuthRefused if refused else ProviderError, words, "graphql")
    return judge(answer)


def every_page(
    api: Api, path: str, field: str, doing: str, params: Mapping[str, Any] | None = None
) -> tuple[list[Mapping[str, Any]], str | None]:
    """All records of a list, and what was wrong where it is not all of them.

    Servers of 2026-08 answer without pages; newer ones add ``pagination {nextCursor, hasNextPage}``.

    Raises:
        Unreachable, AuthRefused, RateLimited, ProviderError: the first page did not come.
    """
    found: list[Mapping[str, Any]] = []
    problem: str | None = None
    cursor: str | None = None
    seen: set[str] = set()
    for number in range(PAGES_AT_MOST):
        try:
            body: dict[str, Any] = api.read("GET", path, doing, params={**(params or {}), "cursor": cursor})
            records = body.get(field)
            if not isinstance(records, list):
                raise api.lost(doing, f"the answer has no {field}")
        except GpudashError as exc:
            if number == 0:
                raise
            return found, f"page {number + 1} did not come: {exc.text}"
        whole = [record for record in records if isinstance(record, dict) and _is_id(record.get("id"))]
        found += whole
        if len(whole) < len(records):
            problem = f"{len(records) - len(whole)} of the records cannot be read"
        cursor = _next_cursor(body)
        if cursor is None:
            return found, problem
        if cursor in seen:
            break
        seen.add(cursor)
    return found, "the pages do not end"


def _next_cursor(body: Mapping[str, Any]) -> str | None:
    pagination = body.get("pagination")
    if not isinstance(pagination, dict) or not pagination.get("hasNextPage"):
        return None
    cursor = pagination.get("nextCursor")
    return cursor if isinstance(cursor, str) and cursor else None


def _is_id(found: object) -> bool:
    return isinstance(found, str) and bool(found)


def _words(answer: Answer) -> str:
    """`detail`, and after it the single failures of a validation: the missing field first, it causes the others."""
    words = words_of(answer)
    failures = answer.get("errors")
    if not isinstance(failures, list):
        return words
    told = [" ".join(text.split()) for text in failures if isinstance(text, str) and text]
    told.sort(key=lambda text: "missing" not in text)
    return f"{words}: {'; '.join(told[:3])}" if told else words


def _window_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a used-up window of the RateLimit header opens again; None where Retry-After says it."""
    return None if headers.get("retry-after") else _used_up_s(headers)


def _used_up_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the last window without calls left opens again; None where each has some."""
    waits = [float(left) for quota, left in _WINDOW.findall(headers.get("ratelimit", "")) if quota == "0"]
    return max(waits, default=None)
