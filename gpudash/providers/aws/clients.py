"""The one Session of an account, and its clients.

A Session costs 25 MB and is not thread-safe; a client costs 2 MB and is. So there is one Session, clients are made
under a lock when a region is first asked, and any lane may use them. Three kinds, by what a lost answer means:

* ``read``: asked again once by the SDK (retry mode ``standard``); a hanging region is given up after half a minute.
* ``write``: never retried by the SDK, so that a time-out is seen as one and reconciled above.
* ``quick``: one attempt, short time-outs, for prices and other extras that nobody should wait for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpudash.config import Account

FALLBACK_REGION = "us-east-1"
_KINDS: dict[str, dict[str, Any]] = {
    "read": {"connect_timeout": 3, "read_timeout": 15, "retries": {"mode": "standard", "total_max_attempts": 2}},
    "write": {"connect_timeout": 3, "read_timeout": 20, "retries": {"mode": "standard", "total_max_attempts": 1}},
    "quick": {"connect_timeout": 2, "read_timeout": 5, "retries": {"mode": "standard", "total_max_attempts": 1}},
}


class Clients:
    """Makes and keeps the clients of one account.

    Args:
        account: whose profile and endpoint are used.
        session_factory: makes the Session of a profile; boto3's own where none is given.
        patience: stretches all time-outs.
    """

    def __init__(
        self, account: Account, session_factory: Callable[[str | None], Any] | None = None, patience: float = 1.0
    ) -> None:
        self._session_factory = session_factory or _boto_session
        self._patience = patience
        self._profile: str | None = account.profile
        self._endpoint: str | None = account.base_url
        self._lock = threading.Lock()
        self._session: Any = None
        self._made: dict[tuple[str, str, str], Any] = {}

    @property
    def endpoint(self) -> str | None:
        """Where calls go instead of AWS, if anywhere."""
        return self._endpoint or os.environ.get("AWS_ENDPOINT_URL")

    def read(self, service: str, region: str) -> Any:
        """A client for questions."""
        return self._client(service, region, "read")

    def write(self, service: str, region: str) -> Any:
        """A client for changes; the SDK never repeats one."""
        return self._client(service, region, "write")

    def quick(self, service: str, region: str) -> Any:
        """A client for extras that may fail."""
        return self._client(service, region, "quick")

    def home_region(self) -> str:
        """The region of the profile or environment; it answers for the account as a whole."""
        with self._lock:
            return str(self._open().region_name or FALLBACK_REGION)

    def forget_session(self) -> None:
        """Read the credentials anew at the next call: a person has logged in again meanwhile, or will."""
        with self._lock:
            made, self._made, self._session = list(self._made.values()), {}, None
        for client in made:
            client.close()

    def _client(self, service: str, region: str, kind: str) -> Any:
        with self._lock:
            client = self._made.get((service, region, kind))
            if client is None:
                client = self._made[service, region, kind] = self._make(service, region, kind)
            return client

    def _make(self, service: str, region: str, kind: str) -> Any:
        from botocore.config import Config

        settings = _KINDS[kind] | {
            name: _KINDS[kind][name] * self._patience for name in ("connect_timeout", "read_timeout")
        }
        config = Config(**settings, max_pool_connections=4, user_agent_extra="gpudash")
        return self._open().client(service, region_name=region, endpoint_url=self._endpoint, config=config)

    def _open(self) -> Any:
        if self._session is None:
            self._session = self._session_factory(self._profile)
        return self._session


def _boto_session(profile: str | None) -> Any:
    import boto3
    from botocore.session import Session

    from gpudash.providers.aws.wire import Parsers

    core = Session()
    core.register_component("response_parser_factory", Parsers())
    return boto3.Session(profile_name=profile, botocore_session=core)
