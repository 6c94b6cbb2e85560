"""A machine of its own for each host, as far as its status daemon looks: what is read below ``GPUDASH_SYSROOT``.

All hosts share one real machine. Without this, somebody's compiler on the laptop would be CPU load on every host, and
none would ever be idle. So a host looks like a container: memory as rented, network and disk at rest, CPU time of its
own processes only, its own boot id, and connections under the port numbers that are seen inside.

What changes is served through named pipes: it is worked out when somebody reads it, and costs nothing otherwise.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from gpudash.providers.sandbox.catalogue import TYPES
from gpudash.providers.sandbox.record import HostRecord

_REAL_TCP = Path("/proc/net/tcp")
_ADDRESS = "0100007F"
_NET_DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
  eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""


def build(
    root: Path,
    record: HostRecord,
    cpu_seconds: Callable[[], float],
    ports: Mapping[int, int],
    peers: Callable[[], list[tuple[int, int]]],
) -> None:
    """Lay it out and serve it.

    Args:
        root: a folder that does not exist yet.
        record: of the host.
        cpu_seconds: CPU time of all its processes so far.
        ports: of services, as seen on the host → real ones.
        peers: (local port, remote port) of its live SSH connections; asked where the system has no table of them.
    """
    machine = TYPES.get(record.instance_type)
    memory_kb = (machine.memory_gb if machine else 16) << 20
    files = {
        "proc/meminfo": f"MemTotal: {memory_kb} kB\nMemAvailable: {memory_kb * 9 // 10} kB\n",
        "proc/net/dev": _NET_DEV,
        "proc/sys/kernel/random/boot_id": f"{uuid.uuid4()}\n",
        f"proc/{record.pid}/comm": "python3\n",
        "sys/fs/cgroup/cgroup.type": "domain\n",
        "sys/fs/cgroup/io.stat": "8:0 rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0\n",
        "sys/fs/cgroup/memory.current": f"{memory_kb * 1024 // 10}\n",
        "sys/fs/cgroup/memory.max": f"{memory_kb * 1024}\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
    inside = {outside: seen for seen, outside in ports.items()}
    _serve(root / "sys/fs/cgroup/cpu.stat", lambda: f"usage_usec {int(cpu_seconds() * 1e6)}\n")
    _serve(root / "proc/net/tcp", lambda: _tcp_table(inside, peers))


def _serve(path: Path, text: Callable[[], str]) -> None:
    os.mkfifo(path, 0o600)
    threading.Thread(target=_serve_forever, args=(path, text), name=path.name, daemon=True).start()


def _serve_forever(path: Path, text: Callable[[], str]) -> None:
    fresh = path.with_name(f".{path.name}")
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # returns once somebody reads
            # The next reader gets a pipe of its own, or it could see this answer twice.
            os.mkfifo(fresh, 0o600)
            fresh.replace(path)
        except OSError:
            return  # the host is being taken down
        with contextlib.suppress(OSError):
            os.write(descriptor, text().encode())
        os.close(descriptor)


def _tcp_table(inside: Mapping[int, int], peers: Callable[[], list[tuple[int, int]]]) -> str:
    head, rows = "  sl  local_address rem_address   st\n", []
    if not _REAL_TCP.exists():
        rows = [f"   0: {_ADDRESS}:{local:04X} {_ADDRESS}:{remote:04X} 01\n" for local, remote in peers()]
        return head + "".join(rows)
    for line in _REAL_TCP.read_text().splitlines()[1:]:
        row = line.split()
        if row[3] == "01":
            address, _, port = row[1].partition(":")
            number = int(port, 16)
            rows.append(f"   0: {address}:{inside.get(number, number):04X} {row[2]} 01\n")
    return head + "".join(rows)
