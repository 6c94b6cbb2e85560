"""Asking a cloud: a `read` that failed changed nothing, a `write` that failed may have.

| what happened | read | write |
|---|---|---|
| no connection could be made | `Unreachable` | `Unreachable`: it never left |
| connected, then no answer, a reset, half an answer, 5xx, 408 | `Unreachable` | `Ambiguous` |
| a success that is not the JSON promised | `Unreachable` | `Ambiguous` |
| 401, 403 | `AuthRefused` | `AuthRefused` |
| 429, as data or as a web page | `RateLimited` | `RateLimited` |
| any other 3xx, 4xx | `ProviderError` | `ProviderError` |

A cloud's `judge` is asked first and may know better. Keys are in no text, representation, log line or URL.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gpudash import __version__
from gpudash.clock import Clock, SystemClock
from gpudash.errors import Ambiguous, AuthRefused, ProviderError, RateLimited, Unreachable
from gpudash.providers.http.answer import Answer, Judge, Verdict, decode, general, http_date, retry_after_s
from gpudash.providers.http.library import load_httpx
from gpudash.providers.http.throttle import Gate
from gpudash.providers.http.transport import Deadline, Timeouts, make_client

if TYPE_CHECKING:
    import httpx

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes; a longer answer is given up."""
SKEW = timedelta(seconds=60)
"""A difference between the clocks that is worth a word."""
NEW_KEY_AFTER_S = 60.0
"""A refused key is fetched anew, but no more often than that: its place may ask a person to touch something."""
_PLAIN = frozenset({"user-agent", "accept"})
"""Headers that hold no secret."""
log = logging.getLogger(__name__)
_pacing = SystemClock()
"""Time-outs of sockets are real seconds, whatever clock the account goes by."""


def bearer(key: Callable[[], str]) -> Callable[[], Mapping[str, str]]:
    """Headers for a key that is sent as ``Authorization: Bearer``."""
    return lambda: {"Authorization": f"Bearer {key()}"}


class Api:
    """One origin of one cloud, for one account. Safe from any thread.

    Args:
        label: the cloud's name in texts: ``Lambda``.
        base_url: the origin and what stands before every path.
        auth: fetches the key and answers with the headers that carry it; asked at the first call, and again after
            the cloud refused it.
        account: the account's name, for logs.
        clock: tells how far the cloud's clock is off, and paces the throttle.
        judge: the cloud's own reading of its answers.
        timeouts: of each call.
        throttle: holds for every call; a call may name another in addition.
        next_key: asked after a refused key, which did nothing: whether `auth` has another one now, to be tried at once.
    """

    def __init__(
        self,
        label: str,
        base_url: str,
        auth: Callable[[], Mapping[str, str]],
        *,
        account: str,
        clock: Clock,
        judge: Judge | None = None,
        timeouts: Timeouts | None = None,
        throttle: Gate | None = None,
        next_key: Callable[[], bool] | None = None,
    ) -> None:
        self.label, self.base_url, self.account = label, base_url.rstrip("/"), account
        self.skew: timedelta | None = None
        """How far the cloud's clock is ahead of ours, from its last answer; None before one, or where it says none."""
        self._auth, self._clock, self._judge = auth, clock, judge
        self._timeouts, self._throttle = timeouts or Timeouts(), throttle
        self._next_key = next_key
        self._deadline = Deadline()
        self._lock = threading.Lock()
        self._clients: dict[bool, httpx.Client] = {}
        self._headers: httpx.Headers | None = None
        self._fetched_at = 0.0
        self._skew_told = False

    def __repr__(self) -> str:
        return f"Api({self.label}, {self.base_url}, account {self.account})"

    def read(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        expect: type = dict,
        throttle: Gate | None = None,
    ) -> Any:
        """Ask something that changes nothing, and return the decoded answer.

        Args:
            method: ``GET``, or ``POST`` for clouds that ask so.
            path: what follows `base_url`; ids in it are quoted with `segment`.
            doing: what is asked, as it ends the sentence "Could not …".
            params: the query; None values are left out. Never a secret.
            json: the body.
            expect: ``dict`` or ``list``: anything else that comes counts as no answer.
            throttle: held back by this one as well.

        Raises:
            Unreachable, AuthRefused, RateLimited, ProviderError: see the table above.
        """
        answer = self._ask(method, path, doing, params, json, throttle, write=False)
        return self._expected(answer, expect, doing, write=False)

    def write(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        expect: type | None = dict,
        throttle: Gate | None = None,
    ) -> Any:
        """Ask for a change, once; nothing is repeated. Arguments as for `read`.

        Args:
            expect: None where the body does not matter.

        Raises:
            Ambiguous: it may have happened.
            Unreachable: no connection could be made; it did not happen.
            AuthRefused, RateLimited, ProviderError: a definite no; it did not happen.
        """
        answer = self._ask(method, path, doing, params, json, throttle, write=True)
        if expect is None:
            return answer.body
        return self._expected(answer, expect, doing, write=True)

    def lost(self, doing: str, why: str, *, write: bool = False) -> Unreachable:
        """The error for an answer that has the right form and still cannot be what it should."""
        text = self._clean(f"Could not {doing} ({self.label}: {why})")
        if write:
            return Ambiguous(f"{text}; it may have happened.", hint="It is looked for before anything is asked again.")
        return Unreachable(f"{text}.")

    def hurried(self, timeouts: Timeouts) -> Api:
        """The same way to the same cloud, with the key that is fetched already, for what a caller can do without."""

        def shared() -> Mapping[str, str]:
            return {name: value for name, value in self._authorised().items() if name not in _PLAIN}

        return Api(
            self.label,
            self.base_url,
            shared,
            account=self.account,
            clock=self._clock,
            judge=self._judge,
            timeouts=timeouts,
        )

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _expected(self, answer: Answer, expect: type, doing: str, *, write: bool) -> Any:
        if isinstance(answer.body, expect):
            return answer.body
        if answer.is_empty:
            why = "an empty answer"
        else:
            why = "data of another form" if answer.is_json else "an answer that is no data"
        raise self.lost(doing, why, write=write)

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        params: Mapping[str, Any] | None,
        json: Any,
        throttle: Gate | None,
        *,
        write: bool,
    ) -> Answer:
        headers = self._authorised()
        for gate in (self._throttle, throttle):
            if gate is not None:
                gate.wait(doing)
        query = {name: value for name, value in (params or {}).items() if value is not None}
        answer = self._exchange(method, path, doing, query, json, headers, write=write)
        self._compare_clocks(answer)
        verdict = (self._judge(answer) if self._judge else None) or general(answer)
        if verdict is None:
            return answer
        if issubclass(verdict.kind, AuthRefused) and self._next_key is not None and self._next_key():
            with self._lock:
                self._headers = None
            return self._ask(method, path, doing, params, json, throttle, write=write)
        raise self._error(verdict, answer, doing, write=write)

    def _exchange(
        self, method: str, path: str, doing: str, query: Any, json: Any, headers: httpx.Headers, *, write: bool
    ) -> Answer:
        import httpx

        self._deadline.at = _pacing.monotonic() + self._timeouts.total
        try:
            client = self._client(keeps=not write)
            with client.stream(
                method, f"{self.base_url}{path}", params=query or None, json=json, headers=headers
            ) as reply:
                told = {name.lower(): value for name, value in reply.headers.items()}
                return decode(reply.status_code, told, self._body(reply, doing, write=write))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as exc:
            raise self.lost(doing, _why(exc, self._timeouts)) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
            raise self.lost(doing, str(exc)) from None
        except (httpx.HTTPError, httpx.StreamError) as exc:
            raise self.lost(doing, _why(exc, self._timeouts), write=write) from None
        finally:
            self._deadline.at = None

    def _body(self, reply: httpx.Response, doing: str, *, write: bool) -> bytes:
        parts, size = [], 0
        for part in reply.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > LARGEST_BODY:
                raise self.lost(doing, f"an answer of more than {LARGEST_BODY >> 20} MB", write=write)
            if self._deadline.at is not None and _pacing.monotonic() > self._deadline.at:
                raise self.lost(doing, f"no whole answer in {self._timeouts.total:g} s", write=write)
        return b"".join(parts)

    def _error(self, verdict: Verdict, answer: Answer, doing: str, *, write: bool) -> ProviderError:
        error = self._of_kind(verdict, answer, doing, write=write)
        error.code, error.status, error.facts = verdict.code, answer.status, verdict.facts
        return error

    def _of_kind(self, verdict: Verdict, answer: Answer, doing: str, *, write: bool) -> ProviderError:
        if issubclass(verdict.kind, Unreachable):
            return self.lost(doing, verdict.words, write=write)
        text, hint = self._clean(f"Could not {doing} ({self.label}: {verdict.words})."), verdict.hint
        if issubclass(verdict.kind, RateLimited):
            told = retry_after_s(answer.headers, self._clock.now())
            return RateLimited(text, retry_after_s=verdict.retry_after_s or told, hint=hint)
        if issubclass(verdict.kind, AuthRefused):
            self._refused()
            hint = " ".join(filter(None, (hint, self.clock_warning()))) or None
        return verdict.kind(text, hint=hint)

    def clock_warning(self) -> str | None:
        """A sentence where this machine's clock and the cloud's differ by more than a minute."""
        if self.skew is None or abs(self.skew) <= SKEW:
            return None
        way = "behind" if self.skew > timedelta(0) else "ahead of"
        return f"This machine's clock is {round(abs(self.skew).total_seconds())} s {way} {self.label}'s; set it right."

    def _compare_clocks(self, answer: Answer) -> None:
        moment = http_date(answer.headers.get("date", ""))
        if moment is None:
            return
        self.skew = moment - self._clock.now()
        warning = self.clock_warning()
        if warning and not self._skew_told:
            log.warning("%s: %s", self.account, warning)
        self._skew_told = warning is not None

    def _authorised(self) -> httpx.Headers:
        load_httpx()
        import httpx

        with self._lock:
            if self._headers is None:
                fetched = self._auth()
                if not all(value.isascii() and value.isprintable() for value in fetched.values()):
                    raise AuthRefused(
                        f"Account {self.account}: its key holds letters that no key has.",
                        hint="Copy it anew, without quotes and spaces.",
                    )
                self._headers = httpx.Headers(
                    {"User-Agent": f"gpudash/{__version__}", "Accept": "application/json", **fetched}
                )
                self._fetched_at = _pacing.monotonic()
            return self._headers

    def _refused(self) -> None:
        with self._lock:
            if _pacing.monotonic() - self._fetched_at >= NEW_KEY_AFTER_S:
                self._headers = None

    def _clean(self, text: str) -> str:
        """The text without the key, should the cloud have repeated it."""
        headers = self._headers
        if headers is not None:
            for name, value in headers.items():
                if name not in _PLAIN:
                    secret = value.removeprefix("Bearer ").strip()
                    for form in {value, secret, quote(secret, safe="")}:
                        text = text.replace(form, "[key]") if form else text
        return text

    def _client(self, *, keeps: bool) -> httpx.Client:
        import httpx

        with self._lock:
            client = self._clients.get(keeps)
            if client is None:
                context = httpx.create_ssl_context(verify=self.base_url.startswith("https:"))
                client = self._clients[keeps] = make_client(self._deadline, self._timeouts, context, keeps=keeps)
            return client


def segment(text: str) -> str:
    """An id as one segment of a path, whatever it holds."""
    return quote(text, safe="")


def _why(exc: Exception, timeouts: Timeouts) -> str:
    import httpx

    if isinstance(exc, httpx.ConnectTimeout):
        return f"no connection in {timeouts.connect:g} s"
    if isinstance(exc, httpx.PoolTimeout):
        return "all connections are in use"
    if isinstance(exc, httpx.TimeoutException):
        return f"no answer in {min(timeouts.read, timeouts.total):g} s"
    words = " ".join(str(exc).split()) or exc.__class__.__name__
    return f"no connection: {words}" if isinstance(exc, httpx.ConnectError) else words
