"""Filter and order of each screen, kept in a small file of the state folder so that they are there after a restart.

It holds wishes, no facts: a file that makes no sense is set aside and everything begins as at first. Two dashboards at
once each write only the screens that changed in them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

LONGEST = 500
"""Characters of a filter that are kept."""


class Remembered(NamedTuple):
    """How one screen was left."""

    filter: str = ""
    sort: str = ""
    """The column's id; empty is the order of the start."""
    reverse: bool = False


class Views:
    """How every screen was left. Without a path it lasts as long as the program."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file, if there is one."""
        self._path = path
        self._lock = threading.Lock()
        self._changed: dict[str, Remembered] = {}
        self.notice: str | None = None
        """A line for the person, where the file made no sense or cannot be written."""
        self._views = self._read()

    def of(self, screen: str) -> Remembered:
        """How that screen was left."""
        return self._views.get(screen, Remembered())

    def put(self, screen: str, view: Remembered) -> bool:
        """It is left like this now. True where that is another way than before."""
        view = view._replace(filter=view.filter[:LONGEST])
        if self.of(screen) == view:
            return False
        self._views[screen] = view
        with self._lock:
            self._changed[screen] = view
        return True

    def save(self) -> None:
        """Write what changed since; from any thread. A folder that cannot be written is no reason to stop."""
        with self._lock:
            if self._path is None or not self._changed:
                return
            kept = {**self._read(), **self._changed}
            self._changed = {}
            body = {screen: view._asdict() for screen, view in kept.items() if view != Remembered()}
            draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            try:
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    json.dump(body, file, ensure_ascii=False, indent=1)
                draft.replace(self._path)
            except OSError as exc:
                self.notice = f"Filters and orders are not kept: {self._path}: {exc.strerror or exc}."

    def _read(self) -> dict[str, Remembered]:
        if self._path is None:
            return {}
        try:
            body = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(screen): _view(view) for screen, view in body.items()}
        except FileNotFoundError:
            return {}
        except OSError as exc:
            self.notice = f"Filters and orders are as at first: {self._path}: {exc.strerror or exc}."
        except (ValueError, TypeError, AttributeError):
            self.notice = self._set_aside()
        return {}

    def _set_aside(self) -> str:
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.corrupt")
        try:
            self._path.replace(aside)
        except OSError as exc:
            return f"{self._path} makes no sense and cannot be set aside ({exc.strerror}); filters are as at first."
        return f"{self._path.name} made no sense; it was set aside as {aside}, and filters and orders are as at first."


def _view(body: Mapping[str, Any]) -> Remembered:
    view = Remembered(**body)
    if not isinstance(view.filter, str) or not isinstance(view.sort, str) or not isinstance(view.reverse, bool):
        raise TypeError("not a view")
    return view
