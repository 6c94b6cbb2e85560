"""``python -m gpudash.hosts.supervisor``: a process of its own that holds forwards of one instance.

`gpudash tunnel --detach` leaves one behind. It reads what to hold from stdin (JSON, never argv), has a session of its
own so that it outlives the terminal, and ends by itself: when the last of its forwards is closed
(`tunnels.close_tunnels`), when it is told to (SIGTERM), or when the instance has not been reached for `GONE_AFTER_S`.
Nothing of it is left then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gpudash.clock import Clock, SystemClock
from gpudash.errors import GpudashError, HostError
from gpudash.hosts.hosts import Hosts
from gpudash.hosts.states import LinkState
from gpudash.hosts.tunnels import list_tunnels
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.tunnel import Tunnel, TunnelState

GONE_AFTER_S = 900.0
"""An instance out of reach for this long counts as gone. Whoever proves it terminated closes the forwards at once."""

START_S = 10.0
"""For the new process to open its ports."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one supervisor holds."""

    account: str
    region: str
    id: str
    name: str
    provider: str
    managed: bool
    address: SshAddress
    ports: tuple[tuple[int, int | None], ...]
    """Pairs of remote and local port."""
    state_dir: str
    gone_after_s: float = GONE_AFTER_S

    @classmethod
    def read(cls, body: dict[str, Any]) -> Wanted:
        """From the JSON of `text`."""
        ports = tuple((int(remote), local) for remote, local in body["ports"])
        since = body["address"]["host_key_since"]
        address = SshAddress(**{**body["address"], "host_key_since": datetime.fromisoformat(since) if since else None})
        return cls(**{**body, "address": address, "ports": ports})

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), default=datetime.isoformat)

    def instance(self) -> Instance:
        """As much of the instance as a link needs."""
        return Instance(
            InstanceKey(self.account, self.region, self.id),
            self.provider,
            self.name,
            InstanceState.RUNNING,
            "",
            managed=self.managed,
            ssh=self.address,
        )


def spawn(
    instance: Instance,
    ports: Sequence[tuple[int, int | None]],
    *,
    state_dir: Path,
    clock: Clock | None = None,
    gone_after_s: float = GONE_AFTER_S,
) -> list[Tunnel]:
    """Leave a supervisor behind, and return once its ports are open here. They need not be up yet: see `list_tunnels`.

    Args:
        instance: whose ports.
        ports: pairs of remote and local port; local None lets it choose.
        state_dir: where host keys and tunnel descriptors are.
        clock: for the waiting.
        gone_after_s: how long the instance may be out of reach.

    Raises:
        HostError: it ended at once; the text says why (a busy port, most often).
    """
    clock = clock or SystemClock()
    if instance.ssh is None:
        raise HostError(f"{instance.name} has no SSH address yet.")
    key = instance.key
    wanted = Wanted(
        key.account,
        key.region,
        key.id,
        instance.name,
        instance.provider,
        instance.managed,
        instance.ssh,
        tuple(ports),
        str(state_dir),
        gone_after_s,
    )
    order = wanted.text().encode()
    # -c and not -m: a package that is not installed is found from where we found it.
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from gpudash.hosts.supervisor import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    assert child.stdin is not None
    assert child.stderr is not None
    try:
        child.stdin.write(order)
        child.stdin.close()
        return _await(child, wanted, clock)
    finally:
        child.stderr.close()


def _await(child: subprocess.Popen[bytes], wanted: Wanted, clock: Clock) -> list[Tunnel]:
    assert child.stderr is not None
    folder = Path(wanted.state_dir) / "tunnels"
    until = clock.monotonic() + START_S
    while clock.monotonic() < until:
        if child.poll() is not None:
            raise HostError(child.stderr.read().decode(errors="replace").strip() or "The supervisor ended at once.")
        held = [tunnel for tunnel in list_tunnels(folder) if tunnel.owner_pid == child.pid]
        if len(held) == len(wanted.ports):
            # Its parent may end before it does; until then it must not stay as a zombie.
            threading.Thread(target=child.wait, daemon=True).start()
            return held
        clock.sleep(0.03)
    child.terminate()
    child.wait()
    raise HostError(f"The supervisor did not open its ports within {START_S:g} s.")


def hold(wanted: Wanted, stop: threading.Event, clock: Clock) -> None:
    """Hold the forwards until they are closed, `stop` is set, or the instance counts as gone."""
    hosts = Hosts(Path(wanted.state_dir), clock, owner="supervisor")
    try:
        link = hosts.link(wanted.instance())
        for remote, local in wanted.ports:
            link.forward(remote, local)
        reached_at = clock.monotonic()
        while link.forwards and not stop.wait(0.2):
            if link.state is LinkState.UP:
                reached_at = clock.monotonic()
            elif clock.monotonic() - reached_at > wanted.gone_after_s:
                return
    finally:
        hosts.close()


def is_settled(tunnel: Tunnel) -> bool:
    """It will not change by waiting a moment longer."""
    return tunnel.state in {TunnelState.UP, TunnelState.NO_SERVICE, TunnelState.NEEDS_USER}


def main() -> None:
    """Read what to hold from stdin and hold it."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.umask(0o077)
    wanted = Wanted.read(json.loads(sys.stdin.buffer.read()))
    try:
        hold(wanted, stop, SystemClock())
    except GpudashError as exc:
        sys.stderr.write(f"{exc}\n")
        raise SystemExit(int(exc.exit_code)) from exc


if __name__ == "__main__":
    main()
