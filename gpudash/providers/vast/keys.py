"""The person's SSH key at the account. Vast puts every key of the account on each new instance, so one upload is enough."""

from __future__ import annotations

import threading

from gpudash.errors import Ambiguous, Unreachable
from gpudash.providers import sshkeys
from gpudash.providers.http import Api, Throttle
from gpudash.providers.sshkeys import PublicKey, parse_public_key

PATH = "/api/v0/ssh/"


class Keys:
    """Keys of one account, as far as they were asked for. Safe from any thread."""

    def __init__(self, api: Api, throttle: Throttle) -> None:
        self._api, self._throttle = api, throttle
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._files: dict[str, str] | None = None

    def ensure(self, path: str | None) -> PublicKey:
        """Have the person's key at Vast before the launch, and return it.

        Args:
            path: the public key's file; None for the first that is found.

        Raises:
            UsageError: there is none here.
            ProviderError: Vast refused it.
            Unreachable: whether it is there could not be found out; nothing was launched.
        """
        key = sshkeys.find_public_key(path)
        if key.blob not in self._held and key.blob not in self._ask():
            self._upload(key)
        return key

    def identity_files(self) -> dict[str, str]:
        """Private key files by the name we give a key."""
        with self._lock:
            if self._files is None:
                self._files = sshkeys.identity_files()
            return self._files

    def _ask(self) -> set[str]:
        found = self._api.read("GET", PATH, "list SSH keys", expect=list, throttle=self._throttle)
        told = [item.get("public_key") or item.get("key") for item in found if isinstance(item, dict)]
        keys = [parse_public_key(text, "Vast") for text in told if isinstance(text, str)]
        with self._lock:
            self._held = {key.blob for key in keys if key is not None}
            self._files = None
            return self._held

    def _upload(self, key: PublicKey) -> None:
        doing = f"upload public key {key.name}"
        try:
            self._api.write("POST", PATH, doing, json={"ssh_key": key.text}, throttle=self._throttle)
        except Ambiguous as exc:
            # Not the launch itself: whether the key is there can be looked up at once.
            if key.blob not in self._ask():
                raise Unreachable(f"Public key {key.name} was not taken by Vast.", hint=str(exc)) from exc
        with self._lock:
            self._held.add(key.blob)
