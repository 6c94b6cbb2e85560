"""The person's own SSH keys, for every cloud: found on this machine, uploaded under a name that contains the hash.

The same key gives the same name on every machine and in every region, so it is uploaded once. The private half never
leaves this machine, and nothing that was uploaded is deleted.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpudash.errors import UsageError
from gpudash.model.sshkey import key_name

KINDS = ("ssh-ed25519", "ssh-rsa")
"""What every cloud takes, the better one first."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key."""

    kind: str
    blob: str
    source: str
    """``agent``, or the file it stands in."""

    @property
    def name(self) -> str:
        """Its stable name at a cloud."""
        return key_name(self.blob)

    @property
    def text(self) -> str:
        """As it is uploaded. The comment stays here: it often names a person."""
        return f"{self.kind} {self.blob} gpudash"


def parse_public_key(text: str, source: str) -> PublicKey | None:
    """Read one line of a ``.pub`` file; None where it is no Ed25519 or RSA key."""
    parts = text.split()
    if len(parts) < 2 or parts[0] not in KINDS:
        return None
    try:
        base64.b64decode(parts[1], validate=True)
    except binascii.Error:
        return None
    return PublicKey(parts[0], parts[1], source)


def find_public_key(path: str | None = None) -> PublicKey:
    """The key to launch with: the file named, else one the agent holds, else one in ``~/.ssh``.

    Raises:
        UsageError: there is none; says how to make one.
    """
    if path is not None:
        key = _read(Path(path).expanduser())
        if key is None:
            raise UsageError(f"{path} holds no Ed25519 or RSA public key.", hint="Name a .pub file.")
        return key
    candidates = own_keys()
    for kind in KINDS:
        for key in candidates:
            if key.kind == kind:
                return key
    raise UsageError(
        "No SSH public key was found.", hint="Make one: ssh-keygen -t ed25519, or name one as `public_key`."
    )


def own_keys() -> list[PublicKey]:
    """Every key this person can log in with from here: those of the agent, then those in ``~/.ssh``."""
    return [*agent_keys(), *home_keys()]


def agent_keys() -> list[PublicKey]:
    """What the SSH agent holds, where one runs."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return []
    try:
        done = subprocess.run(["ssh-add", "-L"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [key for line in done.stdout.splitlines() if (key := parse_public_key(line, "agent"))]


def home_keys() -> list[PublicKey]:
    """The public keys in ``~/.ssh``."""
    return [key for path in sorted(Path.home().glob(".ssh/*.pub")) if (key := _read(path))]


def identity_files() -> dict[str, str]:
    """Private key files by the name their public half has at a cloud, so that links know which to offer."""
    return {key.name: private for key in home_keys() if (private := private_file(key))}


def private_file(key: PublicKey) -> str | None:
    """The file with the private half, where it stands beside the public one."""
    if key.source == "agent":
        return None
    path = Path(key.source).with_suffix("")
    return str(path) if path.is_file() else None


def explain_mismatch(wanted: str, cloud: str, held: Mapping[str, str], ours: Iterable[PublicKey]) -> UsageError:
    """Why nobody could log in with the key `wanted`, and which of the cloud's keys fit one of ours.

    Args:
        wanted: the key's name at the cloud.
        cloud: the cloud's name, for people.
        held: every key the cloud holds: name → public key.
        ours: the keys this person has here.
    """
    by_blob = {key.blob: key for key in ours}
    fits = []
    for name, text in sorted(held.items()):
        told = parse_public_key(text, cloud)
        if told is not None and told.blob in by_blob:
            fits.append(f"{name} (fits {by_blob[told.blob].source})")
    if fits:
        hint = f"These at {cloud} fit keys you have here: {', '.join(fits)}."
    else:
        hint = f"None of the keys at {cloud} fits one you have here; name none, and your own is uploaded."
    return UsageError(
        f"Key {wanted} at {cloud} fits no private key on this machine, so nobody could log in.", hint=hint
    )


def make_key(path: Path) -> PublicKey:
    """Make an Ed25519 key without a pass phrase for a person who has none. An existing file is never touched.

    Raises:
        UsageError: the file exists, or ssh-keygen failed.
    """
    if path.exists():
        raise UsageError(f"{path} exists; it is not replaced.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gpudash", "-f", str(path)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UsageError(f"ssh-keygen did not run: {exc}") from exc
    key = _read(path.with_name(path.name + ".pub"))
    if done.returncode or key is None:
        raise UsageError(f"ssh-keygen failed: {done.stderr.strip() or 'no key came'}")
    return key


def _read(path: Path) -> PublicKey | None:
    try:
        return parse_public_key(path.read_text(errors="replace"), str(path))
    except OSError:
        return None
