"""Lambda's origin, the limits it publishes, and what its error codes mean.

Only `error.code` is stable; the words beside it are shown as they are. Codes are those of Lambda's OpenAPI file 1.10.0
and, where marked so, of earlier versions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.config import credential
from gpudash.errors import AuthRefused, NoCapacity, ProviderError, Unreachable
from gpudash.providers.http import Answer, Api, Throttle, Timeouts, Verdict, bearer
from gpudash.providers.http.answer import general, words_of

if TYPE_CHECKING:
    from gpudash.config import Account

ORIGIN = "https://cloud.lambda.ai"
PATHS = "/api/v1"
GONE = "global/object-does-not-exist"
CONFLICT = "global/conflict"
DUPLICATE = "global/duplicate"
INVALID = "global/invalid-parameters"
FULL = "instance-operations/launch/insufficient-capacity"

_KINDS: dict[str, type[ProviderError]] = {
    "global/invalid-api-key": AuthRefused,
    "global/account-inactive": AuthRefused,
    "global/forbidden": AuthRefused,
    "global/invalid-address": ProviderError,
    "global/quota-exceeded": NoCapacity,
    FULL: NoCapacity,
    "global/internal-error": Unreachable,
    "global/unknown": Unreachable,  # earlier versions; with a 400
}
_HINTS = {
    "global/invalid-api-key": f"Make a key at {ORIGIN}/api-keys and put it where the account looks for it.",
    "global/invalid-address": f"Enter a billing address at {ORIGIN}; nothing launches without one.",
    "global/quota-exceeded": "Terminate something, or ask Lambda's support for more.",
}
_NO_SUCH_REGION = re.compile(r"(?i)\bregion\b.*\b(does not exist|not available|no capacity)")
"""Lambda says so of regions that exist and have none of a type left."""


def make_api(account: Account, clock: Clock, timeouts: Timeouts | None) -> Api:
    """One account's way to Lambda. One call a second is what Lambda allows an account."""
    return Api(
        "Lambda",
        f"{account.base_url or ORIGIN}{PATHS}",
        bearer(lambda: credential(account)),
        account=account.name,
        clock=clock,
        judge=judge,
        timeouts=timeouts,
        throttle=Throttle(clock, (1, 1.0)),
    )


def launch_throttle(clock: Clock) -> Throttle:
    """One launch in twelve seconds, five in a minute. A second one waits its turn; a sixth is told when."""
    return Throttle(clock, (1, 12.0), (5, 60.0), patience_s=15.0)


def judge(answer: Answer) -> Verdict | None:
    """What Lambda's error envelope means; None where there is none."""
    error = answer.get("error")
    usual = general(answer)
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return None
    code, words = error["code"], words_of(answer)
    if usual is None:
        return Verdict(Unreachable, words, code)
    kind = _KINDS.get(code, Unreachable if code.startswith("provider/") else usual.kind)
    if code == INVALID and _NO_SUCH_REGION.search(words):
        kind = NoCapacity
    suggestion = error.get("suggestion")
    hint = _HINTS.get(code) or (suggestion if isinstance(suggestion, str) else None) or None
    return Verdict(kind, words, code, hint)
