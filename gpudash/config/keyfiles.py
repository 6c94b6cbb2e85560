"""The key in a file: alone on its line, or in one of the layouts that tools of the clouds write.

| file | layout |
|---|---|
| any | the key alone |
| ``~/.lambda_cloud/lambda_keys`` (SkyPilot) | lines ``api_key = KEY`` |
| ``~/.runpod/config.toml`` | ``[default]`` with ``api_key`` (runpod-python), or ``apikey`` at the top (runpodctl) |
| ``~/.runpod.yaml`` (old runpodctl) | ``apiKey: KEY`` |
| ``~/.dstack/server/config.yml`` | ``projects: [{backends: [{type: lambda, creds: {api_key: KEY}}]}]`` |
| ``~/.config/gpu-dashboard/config.yaml`` (soong) | ``lambda: {api_key: KEY}`` |
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("api_key", "apikey", "apiKey")
_DSTACK = {"vast": "vastai"}
"""What dstack calls a cloud, where it is not our word."""


def key_in(text: str, path: Path, provider: str) -> str | None:
    """The key of that cloud in a file's text; None where there is none."""
    text = text.strip()
    if path.suffix in (".yaml", ".yml"):
        return next(_in_yaml(text, provider), None)
    if text and not any(letter.isspace() or letter == "=" for letter in text):
        return text
    return _named(text)


def holds_key(path: Path, provider: str) -> bool:
    """Whether the file can be read and has a key of that cloud."""
    try:
        return key_in(path.read_text(encoding="utf-8"), path, provider) is not None
    except (OSError, UnicodeDecodeError):
        return False


def load_yaml(text: str) -> Any:
    """The document; None where it is no YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _in_yaml(text: str, provider: str) -> Iterator[str]:
    body = load_yaml(text)
    if not isinstance(body, dict):
        return
    tables = [body.get(provider), body if not body.get("projects") else None]
    for project in body.get("projects") or []:
        for backend in (project.get("backends") if isinstance(project, dict) else None) or []:
            if isinstance(backend, dict) and backend.get("type") == _DSTACK.get(provider, provider):
                tables.append(backend.get("creds"))
    for table in tables:
        yield from _texts(table)


def _named(text: str) -> str | None:
    try:
        body: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        pairs = (line.partition("=") for line in text.splitlines())
        body = {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    tables = [body.get("default"), body, *body.values()]
    return next((key for table in tables for key in _texts(table)), None)


def _texts(table: Any) -> Iterator[str]:
    if isinstance(table, dict):
        yield from (table[name] for name in _NAMES if isinstance(table.get(name), str) and table[name])
