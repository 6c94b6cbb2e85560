"""What touches one machine: its SSH link, host keys, tunnels, push of statusd, and the client that asks statusd.

`Hosts` is the way in: one `Link` for each instance, shared by everything in the process. paramiko (165 ms to import) is
loaded by the first link that connects, and a module of this package by whoever first names what is in it: a list that
asks no host pays for none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpudash.hosts.hosts import Hosts
    from gpudash.hosts.link import ExecResult, Link
    from gpudash.hosts.states import Limits, LinkState

__all__ = ["ExecResult", "Hosts", "Limits", "Link", "LinkState"]

_HOME = {"ExecResult": "link", "Hosts": "hosts", "Limits": "states", "Link": "link", "LinkState": "states"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
