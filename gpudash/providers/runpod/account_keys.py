"""The person's SSH key among those of the RunPod account.

RunPod replaces all keys at once, so the list is read, ours is added, and the list is read back. Keys reach pods that
are created later.
"""

from __future__ import annotations

from gpudash.errors import AuthRefused, GpudashError, ProviderError
from gpudash.providers.http import Api
from gpudash.providers.sshkeys import PublicKey, parse_public_key

PATH = "/account/ssh-keys"


def keys_with(api: Api, key: PublicKey) -> list[str]:
    """All keys of the account, ours among them; it is uploaded once.

    A key that may not touch the account's keys is no hindrance: ours then reaches the pod by its variable alone.

    Raises:
        Unreachable, RateLimited: the account could not be asked; nothing was launched.
        ProviderError: the keys read back are not those that were written.
    """
    try:
        held = _held(api)
    except AuthRefused:
        return [key.text]
    if _has(held, key):
        return held
    wanted = [*held, key.text]
    try:
        api.write("PUT", PATH, "add your SSH key to the account", json={"keys": wanted})
    except AuthRefused:
        return wanted
    except GpudashError as exc:
        if not _has(_held(api), key):
            raise ProviderError(f"{exc.text} Nothing was launched.", hint=exc.hint) from exc
    now = _held(api)
    lost = [line for line in held if line.split()[:2] not in [other.split()[:2] for other in now]]
    if lost or not _has(now, key):
        raise ProviderError(
            "The SSH keys of the RunPod account changed while yours was added.",
            hint="Look at them in RunPod's settings, then launch again.",
        )
    return now


def _held(api: Api) -> list[str]:
    body: dict[str, object] = api.read("GET", PATH, "read the account's SSH keys")
    keys = body.get("keys")
    if not isinstance(keys, list) or not all(isinstance(line, str) for line in keys):
        # All are replaced at once, so keys of another form would be lost.
        raise api.lost("read the account's SSH keys", "the answer has no keys, or keys of another form")
    return [line for line in keys if line.strip()]


def _has(held: list[str], key: PublicKey) -> bool:
    parsed = (parse_public_key(line, "runpod") for line in held)
    return any(other is not None and other.blob == key.blob for other in parsed)
