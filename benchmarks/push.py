"""How long a push takes: fresh, unchanged, new limits, upgrade, and a broken build taken back. One command:

    python benchmarks/push.py [--quick]

A real statusd on a real OpenSSH server on this machine; medians, with the target beside each.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from gpudash.clock import SystemClock  # noqa: E402 - found beside this file, installed or not
from gpudash.errors import PushFailed  # noqa: E402
from gpudash.hosts import Hosts, Link  # noqa: E402
from gpudash.hosts.client import StatusClient  # noqa: E402
from gpudash.hosts.push import Program, own_program, program, push  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402


def config(revision: int = 1) -> dict[str, Any]:
    return {
        "schema": 1,
        "instance": {"account": "bench", "region": "here", "id": "i-box", "name": "box"},
        "policy": {"lease_deadline": "2099-01-01T00:00:00Z", "idle_timeout_s": 1800, "revision": revision},
        "end": {"method": "command", "stop": ["true"]},
        "gpus": 0,
        "wall": False,
    }


def variant(number: int) -> Program:
    """The same statusd as another build."""
    return program(own_program().source + b"\n# %d\n" % number)


def broken(number: int) -> Program:
    """A build that dies at its start."""
    dying = b"class Daemon:\n    def __new__(cls, *_: object): os._exit(9)\n"
    return program(own_program().source.replace(b"class Daemon:\n", dying, 1) + b"\n# %d\n" % number)


def timed(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def stop(link: Link) -> None:
    link.exec("python3 ~/.gpudash/current --home ~/.gpudash --stop; rm -rf ~/.gpudash", timeout=30)


def fails(link: Link, build: Program) -> None:
    try:
        push(link, config(), wanted=build)
    except PushFailed:
        return
    raise AssertionError("a broken build was taken")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each")
    rounds = 1 if parser.parse_args().quick else 7
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, Sshd(Path(name) / "sshd") as sshd:
        hosts = Hosts(Path(name) / "state", SystemClock(), owner="cli")
        link = hosts.link(sshd.instance())
        link.wait_up(10)
        for number in range(rounds):
            steps: dict[str, Callable[[], object]] = {
                "fresh": lambda: push(link, config()),
                "unchanged": lambda: push(link, config()),
                "new limits": lambda: push(link, config(revision=2)),
                "upgrade": lambda n=number: push(link, config(), wanted=variant(n)),
                "broken build taken back": lambda n=number: fails(link, broken(n)),
                "status": StatusClient(link).status,
            }
            for step, act in steps.items():
                took.setdefault(step, []).append(timed(act))
            client = StatusClient(link)
            client.status()
            took.setdefault("status over the kept stream", []).append(timed(client.status))
            client.close()
            stop(link)
        hosts.close()
    targets = {"fresh": "<= 1.5", "unchanged": "<= 0.5", "broken build taken back": "<= 3"}
    print(f"{'seconds':<32}{'target':>10}{'median':>10}{'worst':>10}")
    for step, values in took.items():
        print(f"{step:<32}{targets.get(step, ''):>10}{statistics.median(values):>10.3f}{max(values):>10.3f}")
    python = subprocess.run(["python3", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"host: {python}, OpenSSH server on 127.0.0.1")


if __name__ == "__main__":
    main()
