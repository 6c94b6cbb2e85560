"""Which host key belongs to which instance, in a known_hosts file of our own.

Trust hangs on the *instance id*, never on the address: clouds hand the same address to the next machine. The file is
0600, its names are ``gpudash-ACCOUNT-ID``, and any `ssh` we run or print is given the same name and file. The user's
own ``~/.ssh/known_hosts`` is neither read nor written.

First contact is recorded where somebody vouches for it (the cloud told the fingerprint, or we launched the machine
ourselves); else a person is shown the fingerprint and asked. A key that changed always stops everything.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from gpudash.errors import NeedsUser
from gpudash.model.instance import Instance, InstanceKey

_SINCE = "_since-"
"""Before the moment in a name of `alias_of`; no escape of `alias` looks so."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """One public key of a host, as it stands in known_hosts."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as OpenSSH prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"


class HostKeyUndecided(NeedsUser):
    """The host showed a key that nobody vouches for. `Link.accept(offered.fingerprint)` trusts it."""

    def __init__(self, text: str, *, offered: HostKey, held: tuple[HostKey, ...] = (), hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.offered = offered
        self.held = held


def alias_of(instance: Instance) -> str:
    """The name under which an instance's present host key stands: another one each time its disk is made anew.

    A container that loses its disk with every stop makes a new host key with every start; that is a first contact and
    no changed key.
    """
    since = instance.ssh.host_key_since if instance.ssh is not None else None
    name = alias(instance.key)
    return name if since is None else f"{name}{_SINCE}{int(since.timestamp())}"


def alias(key: InstanceKey) -> str:
    """The name of an instance in our known_hosts. Two instances never share one.

    OpenSSH compares these names in lower case, so everything but ``a-z 0-9 . -`` is written as ``_`` and its number.
    """
    return "gpudash-" + "-".join(re.sub(r"[^a-z0-9.\-]", _escape, part) for part in (key.account, key.id))


def _escape(match: re.Match[str]) -> str:
    return "".join(f"_{byte:02x}" for byte in match.group().encode())


class KnownHosts:
    """Our known_hosts file. Read anew on every question and locked while it is changed: several gpudash share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def held(self, name: str) -> tuple[HostKey, ...]:
        """Keys trusted for that name, in the order of the file."""
        return tuple(line.key for line in self._lines() if line.marker == "" and line.names_exactly(name))

    def check(self, name: str, offered: HostKey, *, told: str | None, vouched: bool) -> None:
        """Decide about the key a host shows; record it on a first contact that is vouched for.

        Args:
            name: from `alias`.
            offered: what the host showed.
            told: the fingerprint the cloud told, where it tells one.
            vouched: a first contact may be recorded without asking (we launched the machine).

        Raises:
            HostKeyUndecided: a person must look at it.
        """
        if any(line.marker == "@revoked" and line.key == offered and line.fits(name) for line in self._lines()):
            text = f"The host key {offered.fingerprint} is marked as revoked in {self.path}."
            raise HostKeyUndecided(text, offered=offered, hint="Do not use this host; the key is in wrong hands.")
        held = self.held(name)
        if offered in held:
            return
        if held:
            raise _changed(offered, held, told)
        if told is not None and told != offered.fingerprint:
            text = f"The host shows {offered.fingerprint}, but the cloud says its key is {told}."
            raise HostKeyUndecided(text, offered=offered, hint="Somebody may stand in between. Nothing was sent.")
        if told is None and not vouched:
            text = f"First contact: the host shows {offered.fingerprint}, and nobody vouches for it."
            raise HostKeyUndecided(text, offered=offered, hint="Accept it if this is the key you expect.")
        self.trust(name, offered)

    def trust(self, name: str, key: HostKey) -> None:
        """From now on, `key` alone is the key of that name."""
        blob = base64.b64encode(key.blob).decode()
        self._rewrite(name, [f"{name} {key.type} {blob}"])

    def forget(self, name: str) -> None:
        """The instance is gone; its id will not come back. Names of earlier disks of it go as well."""
        names = {part for line in self._lines() for part in line.names if part.startswith(f"{name}{_SINCE}")}
        for each in (name, *sorted(names)):
            self._rewrite(each, [])

    def _lines(self) -> list[_Line]:
        try:
            text = self.path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in map(_parse, text.splitlines()) if line is not None]

    def _rewrite(self, name: str, added: list[str]) -> None:
        with _locked(self.path):
            try:
                lines = self.path.read_text(errors="replace").splitlines()
            except FileNotFoundError:
                lines = []
            kept = [raw for raw in lines if not _is_trust_of(raw, name)]
            if kept + added != lines:
                _replace(self.path, "".join(f"{line}\n" for line in kept + added))


def _changed(offered: HostKey, held: tuple[HostKey, ...], told: str | None) -> HostKeyUndecided:
    known = ", ".join(key.fingerprint for key in held)
    hint = "If the machine was not re-installed, somebody stands in between."
    if told == offered.fingerprint:
        hint = "The cloud says that the new key is right; accept it if you trust the cloud's word."
    text = f"The host key changed: known is {known}, now it shows {offered.fingerprint}."
    return HostKeyUndecided(text, offered=offered, held=held, hint=hint)


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    names: tuple[str, ...]
    key: HostKey

    def names_exactly(self, name: str) -> bool:
        return any(_same(pattern, name) for pattern in self.names)

    def fits(self, name: str) -> bool:
        return self.names_exactly(name) or any(fnmatchcase(name, pattern) for pattern in self.names)


def _same(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        return pattern.lower() == name
    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def _parse(raw: str) -> _Line | None:
    """One line, or None for what is empty, a comment or nonsense: one bad line must not lose the others."""
    fields = raw.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3:
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except (ValueError, binascii.Error):
        return None
    return _Line(marker, tuple(fields[0].split(",")), HostKey(fields[1], blob))


def _is_trust_of(raw: str, name: str) -> bool:
    line = _parse(raw)
    return line is not None and line.marker == "" and line.names_exactly(name)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        os.fchmod(handle, 0o600)
        stream.write(text)
    draft.replace(path)
