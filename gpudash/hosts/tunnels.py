"""Which forwards exist on this machine, whoever holds them: the dashboard, a CLI in the foreground, a supervisor.

Each process that holds forwards owns three kinds of files in the tunnels folder, all 0600:

    PID-RANDOM.lock      locked (`flock`) for as long as the process lives; its lock being free proves the owner dead
    PID-RANDOM.json      what it holds, replaced as a whole whenever a state changes
    PID-RANDOM.close-*   requests of others to close some of it; the owner looks for them while it holds forwards

Nothing is ever concluded from a process number alone: numbers are used again, a held lock cannot be.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpudash.clock import Clock, SystemClock, iso, parse_iso
from gpudash.model.instance import InstanceKey
from gpudash.model.tunnel import Tunnel, TunnelState

if TYPE_CHECKING:
    from gpudash.hosts.forward import Forward
    from gpudash.hosts.link import Link

LOOK_EVERY_S = 0.2
"""How often an owner of forwards looks for requests to close some."""


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Close one forward of an instance, or all of them."""

    account: str
    instance_id: str
    remote: int | None = None

    def fits(self, tunnel: Tunnel) -> bool:
        """It means this tunnel."""
        same = (tunnel.account, tunnel.instance_id) == (self.account, self.instance_id)
        return same and self.remote in {None, tunnel.remote}

    def fits_key(self, key: InstanceKey, remote: int) -> bool:
        """It means this forward of this instance."""
        return (key.account, key.id) == (self.account, self.instance_id) and self.remote in {None, remote}


def list_tunnels(folder: Path) -> list[Tunnel]:
    """Every forward of every living process. What dead ones left behind is removed on the way."""
    found: list[Tunnel] = []
    for lock in sorted(folder.glob("*.lock")):
        if _is_dead(lock):
            continue
        found += _read(lock.with_suffix(".json"))
    return found


def close_tunnels(folder: Path, request: CloseRequest, *, timeout: float, clock: Clock | None = None) -> list[Tunnel]:
    """Ask whoever holds them to close the forwards that are meant, and wait until they have.

    Args:
        folder: the tunnels folder.
        request: which.
        timeout: how long to wait.
        clock: for the waiting.

    Returns:
        What was closed. Compare with `list_tunnels` to see what is left.
    """
    clock = clock or SystemClock()
    asked: list[Tunnel] = []
    for lock in folder.glob("*.lock"):
        meant = [tunnel for tunnel in _read(lock.with_suffix(".json")) if request.fits(tunnel)]
        if meant and not _is_dead(lock):
            _write(lock.with_name(f"{lock.stem}.close-{os.urandom(4).hex()}"), asdict(request))
            asked += meant
    deadline = clock.monotonic() + timeout
    left = asked
    while left and clock.monotonic() < deadline:
        clock.sleep(0.03)
        left = [tunnel for tunnel in list_tunnels(folder) if request.fits(tunnel)]
    still = {(tunnel.owner_pid, tunnel.local) for tunnel in left}
    return [tunnel for tunnel in asked if (tunnel.owner_pid, tunnel.local) not in still]


class Registry:
    """This process's entry. Made lazily: a process that never holds a forward leaves no file."""

    def __init__(
        self, folder: Path, owner: str, on_request: Callable[[CloseRequest], None] = lambda request: None
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: the tunnels folder.
            owner: ``dashboard``, ``cli`` or ``supervisor``.
            on_request: called from a thread of its own for each request of another process.
        """
        self._folder = folder
        self._owner = owner
        self._on_request = on_request
        self._lock = threading.RLock()
        self._handle: int | None = None
        self._stem = ""
        self._published: list[Tunnel] = []
        self._quiet = threading.Event()
        self._listener: threading.Thread | None = None

    def describe(self, link: Link, forward: Forward) -> Tunnel:
        """One of our forwards as everybody sees it."""
        return Tunnel(
            account=link.key.account,
            instance_id=link.key.id,
            name=link.name,
            remote=forward.remote,
            local=forward.local,
            state=forward.state,
            owner_pid=os.getpid(),
            owner=self._owner,
            since=forward.since,
            detail=forward.detail,
        )

    def publish(self, tunnels: Callable[[], tuple[Tunnel, ...]]) -> None:
        """Write down what we hold now, if it differs from what stands there.

        A function and not a value: it is asked under the lock, so that the newest state is written last.
        """
        with self._lock:
            held = list(tunnels())
            if held == self._published:
                return
            if self._handle is None:
                self._claim()
            _write(self._folder / f"{self._stem}.json", {"owner": self._owner, "tunnels": [_as_json(t) for t in held]})
            self._published = held
            if held and (self._listener is None or not self._listener.is_alive()):
                self._quiet.clear()
                self._listener = threading.Thread(target=self._listen, name="tunnel-requests", daemon=True)
                self._listener.start()
            elif not held:
                self._quiet.set()

    def close(self) -> None:
        """Take our entry away."""
        self._quiet.set()
        listener = self._listener
        if listener is not None and listener is not threading.current_thread():
            listener.join(2.0)
        with self._lock:
            if self._handle is None:
                return
            _remove(self._folder, self._stem)
            os.close(self._handle)
            self._handle = None
            self._published = []

    def _claim(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._stem = f"{os.getpid()}-{os.urandom(4).hex()}"
            path = self._folder / f"{self._stem}.lock"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Between the two calls a reader may have taken it for a dead owner's and removed it.
            if path.exists():
                self._handle = handle
                return
            os.close(handle)

    def _listen(self) -> None:
        while not self._quiet.wait(LOOK_EVERY_S):
            for path in sorted(self._folder.glob(f"{self._stem}.close-*")):
                request = _read_request(path)
                path.unlink(missing_ok=True)
                if request is not None:
                    self._on_request(request)


def _is_dead(lock: Path) -> bool:
    """Nobody holds it. Then it is removed with everything beside it."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        _remove(lock.parent, lock.stem)
        return True
    finally:
        os.close(handle)


def _remove(folder: Path, stem: str) -> None:
    for path in [*folder.glob(f"{stem}.close-*"), folder / f"{stem}.json", folder / f"{stem}.lock"]:
        path.unlink(missing_ok=True)


def _write(path: Path, body: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump(body, stream)
    draft.replace(path)


def _as_json(tunnel: Tunnel) -> dict[str, Any]:
    return {**asdict(tunnel), "state": tunnel.state.value, "since": iso(tunnel.since)}


def _read(path: Path) -> list[Tunnel]:
    return list(_entries(_load(path)))


def _entries(body: dict[str, Any]) -> Iterator[Tunnel]:
    for item in body.get("tunnels", ()):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            since = item["since"]
            yield Tunnel(**{**item, "state": TunnelState(item["state"]), "since": parse_iso(since) if since else None})


def _read_request(path: Path) -> CloseRequest | None:
    try:
        return CloseRequest(**_load(path))
    except TypeError:
        return None


def _load(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
