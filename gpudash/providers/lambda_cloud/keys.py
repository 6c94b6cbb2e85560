"""The one SSH key of a launch: the person's own, already at Lambda under any name, or uploaded once under ours."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from gpudash.errors import Ambiguous, ProviderError, Unreachable
from gpudash.providers import sshkeys
from gpudash.providers.http import Api
from gpudash.providers.sshkeys import PublicKey, parse_public_key


class Keys:
    """Keys of one account at Lambda, as far as they were asked for. Safe from any thread."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._identity_files: dict[str, str] | None = None

    def name_for(self, named: str | None, public_key: str | None) -> str:
        """The name of the key to launch with.

        Args:
            named: a key at Lambda by its name there; None for the person's own.
            public_key: the file of the person's own, where several could be meant.

        Raises:
            UsageError: there is no key here, or the one named fits none of them.
            ProviderError: Lambda refused the upload, or holds another key under our name.
            Unreachable: whether it is there could not be found out; nothing was launched.
        """
        ours = None if named else sshkeys.find_public_key(public_key)
        if ours is not None and _holds(self._held, ours):
            return _name_of(self._held, ours)
        held = self._ask()
        if named is not None:
            return self._check_named(named, held)
        assert ours is not None
        if not _holds(held, ours):
            self._upload(ours, held)
        return _name_of(self._held, ours)

    def identity_files(self) -> Mapping[str, str]:
        """Private key file by the name of the key at Lambda: keys of ours by their name, others once asked for."""
        with self._lock:
            if self._identity_files is None:
                found = {}
                by_blob = {key.blob: private for key in sshkeys.home_keys() if (private := sshkeys.private_file(key))}
                for name, text in self._held.items():
                    told = parse_public_key(text, "Lambda")
                    if told is not None and told.blob in by_blob:
                        found[name] = by_blob[told.blob]
                self._identity_files = sshkeys.identity_files() | found
            return self._identity_files

    def forget(self) -> None:
        """Lambda said that the key is not there: somebody took it away."""
        self._keep({})

    def _ask(self) -> dict[str, str]:
        data = self._api.read("GET", "/ssh-keys", "list SSH keys").get("data")
        if not isinstance(data, list):
            raise self._api.lost("list SSH keys", "no keys in the answer")
        return self._keep(
            {str(item.get("name")): str(item.get("public_key") or "") for item in data if isinstance(item, dict)}
        )

    def _keep(self, held: dict[str, str]) -> dict[str, str]:
        with self._lock:
            self._held, self._identity_files = held, None
        return held

    def _check_named(self, named: str, held: Mapping[str, str]) -> str:
        ours = sshkeys.own_keys()
        if named not in held:
            known = ", ".join(sorted(held)) or "none"
            raise ProviderError(f"Lambda holds no SSH key named {named}.", hint=f"It holds: {known}.")
        told = parse_public_key(held[named], "Lambda")
        if told is not None and not any(key.blob == told.blob for key in ours):
            raise sshkeys.explain_mismatch(named, "Lambda", held, ours)
        return named

    def _upload(self, key: PublicKey, held: Mapping[str, str]) -> None:
        if key.name in held:
            raise ProviderError(
                f"SSH key {key.name} at Lambda holds another key than {key.source}.",
                hint="Delete it in Lambda's console, or name one with ssh_key_name.",
            )
        body = {"name": key.name, "public_key": key.text}
        try:
            self._api.write("POST", "/ssh-keys", f"upload public key {key.name}", json=body)
        except Ambiguous as exc:
            # Not the launch itself: whether the key is there can be looked up at once.
            if not _holds(self._ask(), key):
                raise Unreachable(f"Public key {key.name} was not taken by Lambda.", hint=str(exc)) from exc
            return
        self._keep({**held, key.name: key.text})


def _holds(held: Mapping[str, str], key: PublicKey) -> bool:
    return any(told.blob == key.blob for text in held.values() if (told := parse_public_key(text, "Lambda")))


def _name_of(held: Mapping[str, str], key: PublicKey) -> str:
    """Our own name before one that a person gave."""
    names = [name for name, text in held.items() if (told := parse_public_key(text, "")) and told.blob == key.blob]
    return key.name if key.name in names else min(names)
