"""What statusd costs the host it guards, each figure with its target beside it: python benchmarks/statusd.py [SECONDS]

Memory and CPU are taken at the default cadence over SECONDS (default 30) with the real sensors; answers/s is the sum of
two clients that each keep one connection open and ask for /status. Needs Linux (/proc).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

STATUSD = Path(__file__).resolve().parents[1] / "gpudash" / "statusd.py"
CLIENTS, ASKING_S = 2, 3.0
SMI = """#!/bin/sh
while :; do for gpu in 0 1 2 3 4 5 6 7; do echo "$gpu, NVIDIA H100, 3, 10, 81559, 41, 118.20"; done; sleep 5; done
"""


def prepare(home: Path) -> dict[str, str]:
    """A home with a usual policy and a PATH with an eight-device nvidia-smi; the answer is the environment."""
    config = {
        "schema": 1,
        "instance": {"account": "bench", "id": "i-1"},
        "policy": {"lease_deadline": "2099-01-01T00:00:00Z", "idle_timeout_s": 1800, "revision": 1},
        "end": {"method": "command", "stop": ["true"], "terminate": ["true"]},
        "service_ports": [8000],
        "watch_paths": [str(Path(__file__).parent)],
        "wall": False,
    }
    (home / "config.json").write_text(json.dumps(config))
    (home / "token").write_text("bench-token")
    (home / "nvidia-smi").write_text(SMI)
    (home / "nvidia-smi").chmod(0o700)
    return dict(os.environ, PATH=f"{home}:{os.environ['PATH']}")


def resident_mb(pid: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


def cpu_seconds(pid: int) -> float:
    """CPU time of all its threads, from the scheduler: the tick-based figure misses wakes shorter than a tick."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def ask(port: int, until: float, counts: list[int]) -> None:
    """Ask for /status over one connection until the time is over; a whole answer is read each time."""
    request = b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench-token\r\n\r\n"
    answered = 0
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = b""
        while time.monotonic() < until:
            link.sendall(request)
            while b"\r\n\r\n" not in buffer:
                buffer += link.recv(65536)
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(buffer) < length:
                buffer += link.recv(65536)
            buffer = buffer[length:]
            answered += 1
    counts.append(answered)


def answers_per_second(port: int) -> float:
    """The sum over all clients."""
    counts: list[int] = []
    until = time.monotonic() + ASKING_S
    clients = [threading.Thread(target=ask, args=(port, until, counts)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return sum(counts) / ASKING_S


def main() -> None:
    """Start one, measure, stop it, print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-I", "-S", str(STATUSD), "--home", folder]
        began = time.monotonic()
        subprocess.run([*command, "--daemonize"], env=prepare(home), check=True, stdout=subprocess.DEVNULL)
        ready_s = time.monotonic() - began
        run = json.loads((home / "run.json").read_text())
        try:
            time.sleep(6)
            before = cpu_seconds(run["pid"])
            time.sleep(seconds)
            core_pct = 100 * (cpu_seconds(run["pid"]) - before) / seconds
            rate = answers_per_second(run["port"])
            memory = resident_mb(run["pid"])
        finally:
            subprocess.run([*command, "--stop"], check=True, stdout=subprocess.DEVNULL)
    for name, value, target in (
        ("resident after the load", f"{memory:.1f} MB", "<= 20 MB"),
        (f"CPU over {seconds:.0f} s", f"{core_pct:.2f} % of a core", "<= 0.3 %"),
        ("/status answers", f"{rate:,.0f} /s", ">= 3,000 /s"),
        ("start until it answers", f"{ready_s:.2f} s", "-"),
    ):
        print(f"{name:26} {value:>18}   target {target}")


if __name__ == "__main__":
    main()
