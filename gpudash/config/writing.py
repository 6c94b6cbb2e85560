"""Changing settings in the file, and leaving what a person wrote there as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpudash.config.reading import check, parse, text_of
from gpudash.errors import ConfigError

Value = str | bool | int | float | list[str] | None


def write(path: Path, name: str, value: Value) -> None:
    """Set one field (``defaults.theme``) and leave everything else, comments too, as it is. None removes it.

    The file is checked as a whole before it is replaced; a new one is readable by its owner alone.

    Raises:
        ConfigError: the file as it would become is wrong, or it cannot be read or written.
    """
    write_all(path, {tuple(name.split(".")): value})


def write_all(path: Path, changes: Mapping[tuple[str, ...], Value]) -> None:
    """The same for several fields at once, each by the names of its tables and its own (which may hold a dot)."""
    import tomlkit

    path = path.resolve()
    text = text_of(path) or ""
    parse(path, text)
    document = tomlkit.parse(text)
    for (*tables, last), value in changes.items():
        table: Any = document
        for step in tables:
            if step not in table:
                table.add(step, tomlkit.table(is_super_table=step != tables[-1]))
            table = table[step]
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    text = tomlkit.dumps(document)
    check(path, parse(path, text))
    _replace(path, text)


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be written: {exc.strerror or exc}.", hint=f"Make {path.parent} writable."
        ) from exc
