"""One sandbox host: ``python -m gpudash.providers.sandbox.host --dir FOLDER``. Lives in a session of its own.

It holds the lock that proves it alive, serves SSH and the inference service on 127.0.0.1, and ends when it is told to,
taking every process with it that was ever started on it. SIGTERM: do what the record asks for (a stop, the end, or
nothing: then it is a power failure). SIGUSR1: look at the fault switches again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from gpudash.providers.sandbox import effects, faults, keys, machine, processes, sysroot
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.bin_folder import furnish
from gpudash.providers.sandbox.children import Children
from gpudash.providers.sandbox.faults import Fault
from gpudash.providers.sandbox.inference import InferenceServer
from gpudash.providers.sandbox.layout import HostDir, try_lock, write_private
from gpudash.providers.sandbox.record import HostRecord, Power
from gpudash.providers.sandbox.sshserver import BACKLOG, Place, SshServer

SSH_USER = "ubuntu"
ANSWER_S = 0.3
"""Between the power button and the first signal, so that whoever pressed it still gets its answer."""
GRACE_S = 2.0
"""How long processes have to end by themselves after SIGTERM."""
MIN_SHUTDOWN_S = 0.7
"""A shutdown takes at least so long: no machine is off at once, and ``stopping`` is to be seen."""
STATUSD_CHECK_S = 0.5

_PAUSE = threading.Event()


class Host:
    """The process, from boot to end."""

    def __init__(self, folder: HostDir) -> None:
        self._folder = folder
        self._ports: dict[int, int] = {}
        self._hunting = threading.Event()
        self._children = Children()
        self._bell, signal_writer = os.pipe()
        os.set_blocking(signal_writer, False)
        signal.set_wakeup_fd(signal_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)

    def run(self) -> None:
        """Boot, serve, end."""
        record = records.change(
            self._folder, lambda old: replace(old, boots_seen=old.boots_asked, pid=os.getpid(), boots_ready=0)
        )
        if record.power is Power.ON:
            self._boot(record)
            self._heed_faults()
            self._serve()
        self._end()

    def _boot(self, record: HostRecord) -> None:
        folder = self._folder
        shutil.rmtree(folder.run, ignore_errors=True)
        folder.run.mkdir(mode=0o700)
        furnish(folder)
        if not folder.host_key.exists():
            keys.make_key(folder.host_key, record.id)
        ssh_socket = _listen(record.ssh_port)
        service_port = record.service_port or 8000
        service_socket = _listen(record.ports.get(str(service_port)))
        self._ports = {22: _port(ssh_socket), service_port: _port(service_socket)}
        mapped = {str(inside): outside for inside, outside in self._ports.items()}
        write_private(folder.run / "ports.json", json.dumps(mapped).encode())
        _hide_real_gpus(folder.run / "lib")
        place = Place(folder.home, _shell(), self._environment(record), self._children, self._port_map)
        self._ssh = SshServer(ssh_socket, folder.host_key, keys.public_half(folder.sandbox.client_key), place)
        self._ssh.is_cut = lambda: self._has(Fault.SSH_CUT)
        services = {service_port: _port(service_socket)}
        sysroot.build(folder.run / "sysroot", record, self._children.cpu_seconds, services, self._ssh.peers)
        InferenceServer(service_socket, record.name, record.warmup_s).start()
        threading.Thread(target=self._ssh.serve, name="accept", daemon=True).start()
        fingerprint = keys.fingerprint(folder.host_key)
        records.change(
            folder,
            lambda old: replace(
                old,
                ssh_port=self._ports[22],
                ports={**old.ports, **mapped},
                host_key_fingerprint=fingerprint,
                boots_ready=old.boots_seen,
            ),
        )

    def _serve(self) -> None:
        while True:
            numbers = os.read(self._bell, 64)
            if signal.SIGTERM in numbers:
                return
            if signal.SIGUSR1 in numbers:
                self._heed_faults()

    def _end(self) -> None:
        began = time.monotonic()
        _PAUSE.wait(ANSWER_S)
        self._children.close()
        processes.send(self._processes(), signal.SIGTERM)
        while self._processes() and time.monotonic() < began + GRACE_S:
            _PAUSE.wait(0.02)
        processes.kill_all(self._processes)
        _PAUSE.wait(max(0.0, began + MIN_SHUTDOWN_S - time.monotonic()))
        with self._folder.locked():
            record = records.read(self._folder)
            if record.power is Power.GONE:
                for part in (self._folder.home, self._folder.bin, self._folder.run):
                    machine.erase(part)
            elif record.power is Power.OFF:
                machine.erase(self._folder.run)
        os._exit(0)  # threads that serve connections are not waited for

    def _processes(self) -> set[int]:
        return processes.of_host(self._folder.path, os.getpid())

    def _has(self, fault: Fault) -> bool:
        return faults.read(self._folder.sandbox).on(fault, self._folder.id)

    def _heed_faults(self) -> None:
        effects.announce(self._folder)
        if self._has(Fault.SSH_CUT):
            self._ssh.cut()
        if self._has(Fault.STATUSD_KILLED) and not self._hunting.is_set():
            self._hunting.set()
            threading.Thread(target=self._hunt_statusd, name="hunter", daemon=True).start()
        if self._has(Fault.HOST_FROZEN):
            os.kill(os.getpid(), signal.SIGSTOP)

    def _hunt_statusd(self) -> None:
        while self._has(Fault.STATUSD_KILLED):
            pid = _statusd_pid(self._folder.home)
            if pid is not None and pid in self._processes():
                processes.send([pid], signal.SIGKILL)
            _PAUSE.wait(STATUSD_CHECK_S)
        self._hunting.clear()

    def _port_map(self) -> dict[int, int]:
        """Ports seen inside → real ones; others may be added to the record by hand while the host runs."""
        try:
            ports = records.read(self._folder).ports
        except (OSError, ValueError):
            return self._ports
        return {int(inside): outside for inside, outside in ports.items()} | self._ports

    def _environment(self, record: HostRecord) -> dict[str, str]:
        folder = self._folder
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "HOME": str(folder.home),
            "PATH": f"{folder.bin}:{os.environ.get('PATH', os.defpath)}",
            "USER": SSH_USER,
            "LOGNAME": SSH_USER,
            "SHELL": _shell(),
            "TMUX_TMPDIR": str(folder.run),
            "GPUDASH_CLOCK_FILE": str(folder.sandbox.clock_file),
            "GPUDASH_PORT_MAP": str(folder.run / "ports.json"),
            "GPUDASH_SPOT_NOTICE": str(folder.spot_notice),
            "GPUDASH_HOST_NAME": record.name,
            "GPUDASH_SYSROOT": str(folder.run / "sysroot"),
            "GPUDASH_BOOT_ID": f"{record.id}-{record.boots_seen}",
            "LD_LIBRARY_PATH": os.pathsep.join(
                filter(None, [str(folder.run / "lib"), os.environ.get("LD_LIBRARY_PATH")])
            ),
            processes.MARK: str(folder.path),
        }


def _hide_real_gpus(folder: Path) -> None:
    """Let NVIDIA's library fail to load on the host, or a laptop's own card would be seen beside the rented ones."""
    folder.mkdir(mode=0o700)
    (folder / "libnvidia-ml.so.1").write_bytes(b"none here\n")


def _listen(wanted: int | None) -> socket.socket:
    """A listener on the port of the last boot, or on any."""
    for port in (wanted or 0, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            continue
        return listener
    raise OSError("no free port on 127.0.0.1")


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _shell() -> str:
    return shutil.which("bash") or "/bin/sh"


def _statusd_pid(home: Path) -> int | None:
    try:
        return int(json.loads((home / ".gpudash" / "run.json").read_bytes())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hold(folder: HostDir, descriptor: int | None) -> None:
    """Keep the lock that proves this process alive; nothing it starts inherits it."""
    if descriptor is None:
        descriptor = os.open(folder.alive_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(descriptor):
            sys.exit(f"{folder.id} runs already")
    os.set_inheritable(descriptor, False)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def main() -> None:
    """Run one host until it is told to end."""
    parser = argparse.ArgumentParser(prog="gpudash.providers.sandbox.host")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--lock-fd", type=int)
    options = parser.parse_args()
    folder = HostDir(options.dir)
    os.umask(0o077)
    _hold(folder, options.lock_fd)
    os.setsid()
    os.environ.pop("PYTHONPATH", None)
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.ERROR)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # a client that goes away is its own business
    Host(folder).run()


if __name__ == "__main__":
    main()
