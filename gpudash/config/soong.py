"""What soong's YAML says, in our words. Pure: nothing is written here, and no key leaves the file it stands in.

soong (github.com/axiomantic/soong) keeps everything in ``~/.config/gpu-dashboard/config.yaml``; the layout is that of its
`cli/src/soong/config.py`. Its key of Lambda stays there: the account that comes of it names the file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpudash.config.keyfiles import load_yaml
from gpudash.config.settings import Account
from gpudash.errors import ConfigError

LEASE_LIMIT_H = 24 * 365
PRECISIONS = {"fp16": "bf16", "bf16": "bf16", "int8": "fp8", "int4": "int4"}
"""soong's words for how weights are stored, in ours. Its fp32 has none: `fit` counts 16 bits at most."""


def usual_file() -> Path:
    """Where soong keeps its settings."""
    return Path.home() / ".config" / "gpu-dashboard" / "config.yaml"


@dataclass(frozen=True, slots=True)
class SoongModel:
    """A model of the person's own, which lacks figures that `fit` counts with."""

    id: str
    """As soong calls it."""
    command: str
    """The ``gpudash models add …`` that takes it over, with words in capitals where a figure is missing."""
    missing: tuple[str, ...]
    """Those words."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What can be taken over, and what cannot."""

    account: Account
    settings: dict[str, str | int] = field(default_factory=dict)
    """Fields of ours by name: ``defaults.lease`` → ``4h``."""
    left_out: tuple[tuple[str, str], ...] = ()
    """soong's field, and what to do about it instead."""
    models: tuple[SoongModel, ...] = ()


def read(path: Path, taken: Collection[str]) -> Imported:
    """Read soong's file.

    Args:
        path: the file.
        taken: names that accounts of ours have already.

    Raises:
        ConfigError: it is not there, others can read it, it is no YAML, or has no key of Lambda.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"Others can read {path}, and it holds keys.", hint=f"Try: chmod 600 {path}")
        body = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ConfigError(f"{path} cannot be read: {why}.", hint="Name the file: --import-soong FILE") from exc
    if not isinstance(body, dict) or not _part(body, "lambda").get("api_key"):
        raise ConfigError(f"{path} has no `lambda: {{api_key: …}}`, so it is not soong's.")
    name = next(name for name in ("lambda", "soong", "soong-lambda") if name not in taken or name == "soong-lambda")
    account = Account(name, "lambda", api_key_file=path)
    models = tuple(_model(str(key), told) for key, told in sorted(_part(body, "custom_models").items(), key=str))
    return Imported(account, dict(_settings(body)), tuple(_left_out(body)), models)


def _settings(body: dict[str, Any]) -> list[tuple[str, str | int]]:
    found: list[tuple[str, str | int]] = []
    hours = _part(body, "defaults").get("lease_hours")
    if isinstance(hours, int) and not isinstance(hours, bool) and 0 < hours <= LEASE_LIMIT_H:
        found.append(("defaults.lease", f"{hours}h"))
    port = _part(body, "tunnel").get("sglang_port")
    if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536:
        found.append(("defaults.service_port", port))
    return found


def _left_out(body: dict[str, Any]) -> list[tuple[str, str]]:
    cloud, defaults = _part(body, "lambda"), _part(body, "defaults")
    hints = [
        ("lambda.default_region", cloud.get("default_region"), "give it to a launch: --region {}"),
        ("lambda.filesystem_name", cloud.get("filesystem_name"), "give it to a launch: -o file_system={}"),
        ("defaults.gpu", defaults.get("gpu"), "give it to a launch: --type {}"),
        ("defaults.model", defaults.get("model"), "`gpudash fit` says what a model needs"),
        ("ssh.key_path", _part(body, "ssh").get("key_path"), "give it to a launch: -o public_key={}.pub"),
        ("cloudflare", _part(body, "cloudflare").get("api_token"), "gpudash has a watchdog of its own"),
    ]
    return [(name, words.format(value)) for name, value, words in hints if value and isinstance(value, str)]


def _model(key: str, told: object) -> SoongModel:
    """soong knows no heads and layers; what else it lacks or says in a way of its own is missing too."""
    facts = told if isinstance(told, dict) else {}
    size, context = facts.get("params_billions"), facts.get("context_length")
    precision = PRECISIONS.get(str(facts.get("quantization") or "").lower())
    ours = re.sub(r"[^a-z0-9._-]+", "-", key.lower()).lstrip("._-")[:64]
    is_size = isinstance(size, int | float) and not isinstance(size, bool) and size > 0
    is_context = isinstance(context, int) and not isinstance(context, bool) and context > 0
    options = [
        ("--parameters", f"{size}b" if is_size else "PARAMETERS"),
        ("--precision", precision or "PRECISION"),
        ("--context", str(context) if is_context else "CONTEXT"),
        ("--heads", "HEADS"),
        ("--kv-heads", "KV_HEADS"),
        ("--head-dim", "HEAD_DIM"),
        ("--layers", "LAYERS"),
    ]
    path = facts.get("hf_path")
    named = ["--name", path] if isinstance(path, str) and path else []
    words = ["gpudash", "models", "add", ours or "MODEL", *named, *(word for pair in options for word in pair)]
    missing = [word for word in (ours or "MODEL", *(value for _, value in options)) if word.isupper()]
    return SoongModel(key, shlex.join(words), tuple(missing))


def _part(body: dict[str, Any], name: str) -> dict[str, Any]:
    part = body.get(name)
    return part if isinstance(part, dict) else {}
