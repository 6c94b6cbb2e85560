"""The sandbox's own SSH keys: ed25519, made on first use, never readable by others."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from gpudash.providers.sandbox.layout import Sandbox, write_private


def make_key(path: Path, comment: str) -> None:
    """Write a new private key and beside it ``.pub``. The private half comes last: where it is, both are."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    write_private(public_half(path), public + f" {comment}\n".encode())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def client_key(sandbox: Sandbox) -> Path:
    """The key that opens every host; made here the first time. The caller holds the launch lock."""
    if not sandbox.client_key.exists():
        make_key(sandbox.client_key, "gpudash-sandbox")
    os.chmod(sandbox.client_key, 0o600)
    return sandbox.client_key


def public_half(path: Path) -> Path:
    """The ``.pub`` file of a private key."""
    return path.with_name(path.name + ".pub")


def fingerprint(path: Path) -> str:
    """``SHA256:…`` of a key's public half, as OpenSSH writes it."""
    blob = base64.b64decode(public_half(path).read_text().split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
