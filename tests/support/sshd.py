"""A real OpenSSH server for tests and benchmarks: on 127.0.0.1, with keys of its own, a home of its own, no PAM."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from tests.support.waiting import PATIENCE_S

NSS_WRAPPER = next(map(str, Path("/usr/lib").glob("*/libnss_wrapper.so")), None)
"""Lets a server know a user by another name (package ``libnss-wrapper``); None where it is missing."""
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "/usr/sbin/sshd"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(claim: Callable[[], Any], within: float = PATIENCE_S) -> Any:
    """Wait until `claim` holds and answer what it said; fail after `within` seconds."""
    end = time.monotonic() + within
    while True:
        if said := claim():
            return said
        assert time.monotonic() < end, f"not true within {within:g} s"
        time.sleep(0.01)


def own_name() -> str:
    """The name of this very user."""
    return pwd.getpwuid(os.geteuid()).pw_name


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A private key at `path`, its public half beside it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


class Sshd:
    """One server. Start, kill, freeze and thaw it as a test needs; leaving the context ends it."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        key_kinds: tuple[str, ...] = ("ed25519",),
        environment: Mapping[str, str] | None = None,
        at: tuple[str, int] | None = None,
        user: str | None = None,
        uid: int | None = None,
    ) -> None:
        """A server that does not serve yet.

        Args:
            folder: for its files.
            options: further lines of its configuration.
            key_kinds: kinds of its host keys.
            environment: variables of what runs there.
            at: address and port; a free port of 127.0.0.1 unless told.
            user: under which name this very user logs in; needs `NSS_WRAPPER` where it is not the user's own.
            uid: log in as another than this very user; only root may do that.
        """
        self.folder = folder
        self.home = folder / "host-home"
        self.home.mkdir(parents=True)
        self.host, self.port = at or ("127.0.0.1", free_port())
        self.user = user or own_name()
        self.uid = os.getuid() if uid is None else uid
        self.user_key = make_key(folder / "user")
        self.host_keys = [make_key(folder / f"host-{kind}", kind) for kind in key_kinds]
        self._authorized = folder / "authorized_keys"
        self._authorized.write_text((folder / "user.pub").read_text())
        self._options = list(options)
        self._environment = {"HOME": str(self.home), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if kind is not None:
            print(self.log())

    @property
    def address(self) -> SshAddress:
        """How to reach it."""
        return SshAddress(self.host, self.port, self.user, str(self.user_key))

    def instance(self, name: str = "box", **changes: Any) -> Instance:
        """An instance that is this server."""
        facts: dict[str, Any] = {"managed": True, "ssh": self.address, **changes}
        return Instance(
            InstanceKey("acct", "here", f"i-{name}"), "test", name, InstanceState.RUNNING, "running", **facts
        )

    def authorize(self, *public: Path | str) -> None:
        """Let these keys in as well: files, or the lines themselves."""
        with self._authorized.open("a") as stream:
            for key in public:
                stream.write((key.read_text() if isinstance(key, Path) else key).rstrip() + "\n")

    def unauthorize(self) -> None:
        """Let nobody in."""
        self._authorized.write_text("")

    def start(self) -> None:
        """Serve, and return once it does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = self.folder / "sshd_config"
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            *(f"HostKey {key}" for key in self.host_keys),
            f"AuthorizedKeysFile {self._authorized}",
            "UsePAM no",
            "StrictModes no",
            "PidFile none",
            "PermitRootLogin yes",
            "MaxStartups 100",
            "PrintMotd no",
            "SetEnv " + " ".join(f"{name}={value}" for name, value in self._environment.items()),
            *self._options,
            *(
                []
                if any(option.startswith("Subsystem") for option in self._options)
                else ["Subsystem sftp internal-sftp"]
            ),
        ]
        config.write_text("\n".join(lines) + "\n")
        argv = [SSHD, "-D", "-f", str(config), "-E", str(self.folder / "sshd.log")]
        self._process = subprocess.Popen(argv, start_new_session=True, env={**os.environ, **self._renamed()})
        until(self._listens)

    def _renamed(self) -> dict[str, str]:
        """What makes the server know this very user by the name wanted."""
        if (self.user, self.uid) == (own_name(), os.getuid()):
            return {}
        assert NSS_WRAPPER is not None
        passwd, group = self.folder / "passwd", self.folder / "group"
        group_id = os.getgid() if self.uid == os.getuid() else self.uid
        who = f"{self.uid}:{group_id}:test:{self.home}:/bin/sh"
        passwd.write_text(f"{self.user}:x:{who}\nsshd:x:65533:65533::/run/sshd:/bin/false\n")
        group.write_text(f"{self.user}:x:{group_id}:\nsshd:x:65533:\n")
        return {"LD_PRELOAD": NSS_WRAPPER, "NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group)}

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False

    def pids(self) -> list[int]:
        """The server and the children that serve connections."""
        if self._process is None:
            return []
        found, queue = [], [self._process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cut(self) -> None:
        """Kill what serves connections, but no command that runs for them; new connections are still taken."""
        for pid in self.pids()[1:]:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it and its children as a stalled machine would: connections stay open and silent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and every connection to it."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log(self) -> str:
        """What it wrote."""
        path = self.folder / "sshd.log"
        return path.read_text() if path.exists() else ""
