"""The person's public key as a key pair at AWS: uploaded once a region, and never deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpudash.errors import ProviderError
from gpudash.providers.aws import tags
from gpudash.providers.aws.errors import code_of, translated
from gpudash.providers.sshkeys import PublicKey, parse_public_key


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
