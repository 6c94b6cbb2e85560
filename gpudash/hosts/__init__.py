"""What touches one machine: its SSH link, host keys, tunnels, push of statusd, and the client that asks statusd.

`Hosts` is the way in: one `Link` for each instance, shared by everything in the process. paramiko (165 ms to import) is
loaded by the first link that connects, so importing this package costs nothing.
"""

from gpudash.hosts.hosts import Hosts
from gpudash.hosts.link import ExecResult, Link
from gpudash.hosts.states import Limits, LinkState

__all__ = ["ExecResult", "Hosts", "Limits", "Link", "LinkState"]
