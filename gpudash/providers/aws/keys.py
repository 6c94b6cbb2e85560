"""The person's own public key: found on this machine, uploaded once a region under a name that contains its hash.

The private half never leaves the machine, and an uploaded key pair is never deleted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpudash.errors import ProviderError, UsageError
from gpudash.providers.aws import tags
from gpudash.providers.aws.errors import code_of, translated

KINDS = ("ssh-ed25519", "ssh-rsa")
"""What EC2 takes, the better one first."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key."""

    kind: str
    blob: str
    source: str
    """``agent``, or the file it stands in."""

    @property
    def name(self) -> str:
        """Its stable name at AWS: the same key gives the same name on every machine and in every region."""
        return f"gpudash-{hashlib.sha256(base64.b64decode(self.blob)).hexdigest()[:16]}"

    @property
    def text(self) -> str:
        """As it is uploaded. The comment stays here: it often names a person."""
        return f"{self.kind} {self.blob} gpudash"


def parse_public_key(text: str, source: str) -> PublicKey | None:
    """Read one line of a ``.pub`` file; None where it is no key that EC2 takes."""
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
    candidates = [*agent_keys(), *home_keys()]
    for kind in KINDS:
        for key in candidates:
            if key.kind == kind:
                return key
    raise UsageError(
        "No SSH public key was found.", hint="Make one: ssh-keygen -t ed25519, or name one as `public_key`."
    )


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
    """Private key files by the name their public half has at AWS, so that links know which to offer."""
    found = {}
    for key in home_keys():
        private = Path(key.source).with_suffix("")
        if private.is_file():
            found[key.name] = str(private)
    return found


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


def ensure_key_pair(reader: Any, writer: Any, key: PublicKey) -> str:
    """The key pair's name in this region; uploads the key where it is not there yet.

    Raises:
        ProviderError: a key pair of that name holds another key.
    """
    with translated(f"look for key pair {key.name}"):
        filters = [{"Name": "key-name", "Values": [key.name]}]
        pairs = reader.describe_key_pairs(Filters=filters, IncludePublicKey=True)["KeyPairs"]
    if pairs:
        _check_same(pairs[0], key)
        return key.name
    described = {"gpudash:keep": "true", tags.MANAGED: "true"}
    with translated(f"upload public key {key.name}"):
        try:
            writer.import_key_pair(
                KeyName=key.name,
                PublicKeyMaterial=key.text.encode(),
                TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags.as_list(described)}],
            )
        except Exception as exc:
            if code_of(exc) != "InvalidKeyPair.Duplicate":
                raise
    return key.name


def _check_same(pair: Mapping[str, Any], key: PublicKey) -> None:
    told = parse_public_key(str(pair.get("PublicKey") or ""), "aws")
    if told is not None and told.blob != key.blob:
        raise ProviderError(
            f"Key pair {key.name} at AWS holds another key than {key.source}.",
            hint="Delete that key pair in the console, or name one with `key_name`.",
        )


def _read(path: Path) -> PublicKey | None:
    try:
        return parse_public_key(path.read_text(errors="replace"), str(path))
    except OSError:
        return None
