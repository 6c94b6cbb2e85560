"""httpx as a library alone. Its command line, which nobody calls here, is a third of its import: click, rich, pygments."""

from __future__ import annotations

import sys
import threading

_COMMAND_LINE = "httpx._main"
_lock = threading.Lock()


def load_httpx() -> None:
    """Import httpx as where its optional command line is not installed, unless somebody has imported it before."""
    with _lock:
        if "httpx" not in sys.modules:
            sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]  # None: importing it fails, says importlib
            try:
                import httpx  # noqa: F401
            finally:
                del sys.modules[_COMMAND_LINE]
