"""Proves to a host who we are: the instance's own key file, the agent, the usual keys, all on one connection.

One connection and no more: OpenSSH 9.8 and later shut out an address that keeps failing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpudash.errors import LinkDown, NeedsUser
from gpudash.hosts.fitting import advice
from gpudash.model.instance import SshAddress

if TYPE_CHECKING:
    from paramiko import PKey, Transport

USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""What `ssh` tries by itself, newest kind first."""


class AuthUndecided(NeedsUser):
    """No key was taken. Changes when the person loads, unlocks or names another key."""


class PassphraseWanted(AuthUndecided):
    """A key file is locked. `Link.unlock(passphrase)` opens it."""

    def __init__(self, text: str, *, path: Path, hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.path = path


@dataclass(slots=True)
class _Tried:
    """What was tried, for the sentence a person reads."""

    keys: list[str] = field(default_factory=list)
    locked: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def authenticate(transport: Transport, address: SshAddress, passphrase: str | None, *, home: Path) -> None:
    """Log in as `address.user`.

    Args:
        transport: negotiated, host key checked.
        address: names the user and, where known, the key file.
        passphrase: opens locked key files; kept in memory only.
        home: where ``.ssh`` is.

    Raises:
        PassphraseWanted: the key that fits is locked.
        AuthUndecided: every key was refused, or there was none.
        LinkDown: the connection broke meanwhile.
    """
    from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType, SSHException

    tried = _Tried()
    for name, key in _candidates(address, passphrase, home, tried):
        try:
            if not transport.auth_publickey(address.user, key):
                return
            tried.notes.append(f"{name} was taken, but the host wants a second proof")
        except BadAuthenticationType as exc:
            raise AuthUndecided(
                f"The host takes no keys; it wants {', '.join(exc.allowed_types)}.", hint=_hint(address)
            ) from exc
        except AuthenticationException as exc:
            tried.keys.append(name)
            if not transport.is_active():
                tried.notes.append(f"the host hung up after {len(tried.keys)} keys ({exc})")
                break
        except (SSHException, EOFError, OSError) as exc:
            if not tried.keys:
                raise LinkDown(f"The connection broke during authentication: {exc or type(exc).__name__}.") from exc
            tried.notes.append(f"the host hung up after {len(tried.keys)} keys")
            break
    raise _refusal(address, tried, home)


def _candidates(address: SshAddress, passphrase: str | None, home: Path, tried: _Tried) -> Iterator[tuple[str, PKey]]:
    """Keys by falling likelihood; each once, though agent and files may hold the same one."""
    seen: set[bytes] = set()
    sources: list[Iterator[tuple[str, PKey]]] = []
    if address.identity_file:
        sources.append(_from_file(Path(address.identity_file).expanduser(), passphrase, tried, must=True))
    sources.append(_from_agent())
    sources.extend(_from_file(home / ".ssh" / name, passphrase, tried, must=False) for name in USUAL_KEYS)
    for source in sources:
        for name, key in source:
            blob = key.asbytes()
            if blob not in seen:
                seen.add(blob)
                yield name, key


def _from_agent() -> Iterator[tuple[str, PKey]]:
    import paramiko

    agent = paramiko.Agent()
    try:
        for key in agent.get_keys():
            yield f"agent key {getattr(key, 'comment', '') or key.get_name()}", key
    except (paramiko.SSHException, OSError):
        return
    finally:
        agent.close()


def _from_file(path: Path, passphrase: str | None, tried: _Tried, *, must: bool) -> Iterator[tuple[str, PKey]]:
    try:
        key = load_key(path, passphrase)
    except PassphraseWanted as exc:
        tried.locked.append(exc.path)
        tried.notes.append(exc.text)
    except FileNotFoundError:
        if must:
            tried.notes.append(f"{path} does not exist")
    except (OSError, ValueError) as exc:
        tried.notes.append(f"{path} cannot be read: {exc}")
    else:
        yield str(path), key


def load_key(path: Path, passphrase: str | None) -> PKey:
    """Read a private key file.

    Raises:
        PassphraseWanted: it is locked and no, or the wrong, pass phrase was given.
        FileNotFoundError: there is no such file.
        ValueError: it is no private key that we can use.
    """
    import paramiko

    secret: Any = passphrase.encode() if passphrase else None
    try:
        return paramiko.PKey.from_path(path, secret)
    except TypeError as exc:
        # cryptography says TypeError both for "locked, none given" and for "not locked, one given".
        if secret is not None:
            return load_key(path, None)
        raise PassphraseWanted(f"The key {path} needs its pass phrase.", path=path) from exc
    except ValueError as exc:
        if secret is not None and _is_locked(path):
            raise PassphraseWanted(f"The pass phrase does not open {path}.", path=path) from exc
        raise ValueError(f"no private key of a known kind ({exc})") from exc
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType) as exc:
        raise ValueError(f"no private key of a known kind ({exc})") from exc


def _is_locked(path: Path) -> bool:
    try:
        load_key(path, None)
    except PassphraseWanted:
        return True
    except ValueError:
        return False
    return False


def _refusal(address: SshAddress, tried: _Tried, home: Path) -> NeedsUser:
    notes = f" ({'; '.join(tried.notes)})" if tried.notes else ""
    if tried.locked and not (address.identity_file and tried.keys):
        path = tried.locked[0]
        text = next((note for note in tried.notes if str(path) in note), f"The key {path} needs its pass phrase.")
        return PassphraseWanted(text, path=path, hint=f"Enter it, or load the key into the agent: ssh-add {path}")
    if not tried.keys:
        text = f"There is no key to show to {address.user}@{address.host}{notes}."
    else:
        text = f"{address.user}@{address.host} refused every key: {', '.join(tried.keys)}{notes}."
    return AuthUndecided(text, hint=advice(address, tried.keys, home))


def _hint(address: SshAddress) -> str:
    return f"Check the user name ({address.user}) and that your public key was given to the instance."
