"""The name that a public SSH key has at every cloud: the same key gives the same name on every machine. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib


def key_name(blob: str) -> str:
    """``gpudash-`` and the beginning of the hash of a key's body, which is the second word of its ``.pub`` line."""
    try:
        body = base64.b64decode(blob, validate=True)
    except binascii.Error:
        body = blob.encode()
    return f"gpudash-{hashlib.sha256(body).hexdigest()[:16]}"
