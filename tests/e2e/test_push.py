"""Push of the real statusd to a host behind a real OpenSSH server: fresh, unchanged, upgraded, broken, taken back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gpudash.errors import HostError, NoService, PushFailed, Refused, StatusdError
from gpudash.hosts import Hosts, Link
from gpudash.hosts.client import StatusClient
from gpudash.hosts.push import HEALTH_S, Program, own_program, program, push
from gpudash.model.host import parse_status
from gpudash.model.policy import EndAction
from tests.support.processes import arguments
from tests.support.sshd import Sshd, until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = pytest.mark.needs("sshd", "ssh-keygen")

START = datetime.now(UTC).replace(microsecond=0)
LEASE, HARD = START + timedelta(hours=4), START + timedelta(hours=24)


def config(**policy: Any) -> dict[str, Any]:
    limits = {
        "lease_deadline": f"{LEASE:%Y-%m-%dT%H:%M:%SZ}",
        "hard_deadline": f"{HARD:%Y-%m-%dT%H:%M:%SZ}",
        "idle_timeout_s": 1800,
        "revision": 1,
        **policy,
    }
    return {
        "schema": 1,
        "instance": {"account": "acct", "region": "here", "id": "i-box", "name": "box"},
        "provider": "sandbox",
        "policy": limits,
        "end": {"method": "command", "stop": ["touch", "ended"], "terminate": ["touch", "ended"]},
        "gpus": 0,
        "port": 45678,
        "wall": False,
    }


def spoiled(old: bytes, new: bytes) -> Program:
    """Our statusd with one thing wrong."""
    source = own_program().source
    assert old in source
    return program(source.replace(old, new, 1))


def newer(version: bytes = b"0.2.0") -> Program:
    """The next version."""
    return spoiled(b'VERSION = "0.1.0"', b'VERSION = "%s"' % version)


@pytest.fixture
def link(hosts: Hosts, sshd: Sshd) -> Iterator[Link]:
    """A link to a host; whatever statusd a test started there is stopped."""
    link = hosts.link(sshd.instance())
    yield link
    current = sshd.home / ".gpudash" / "current"
    if current.exists():
        argv = [sys.executable, str(current), "--home", str(current.parent), "--stop"]
        subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def home(sshd: Sshd) -> Path:
    """Where statusd lives on the host."""
    return sshd.home / ".gpudash"


def snapshot(home: Path) -> dict[str, tuple[int, int]]:
    """Every file of a push with inode and time of change; what statusd itself writes is left out."""
    written = {"state.json", "statusd.log", "run.json", "lock", "push.lock", "warning.txt", "history"}
    return {
        str(path.relative_to(home)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in home.rglob("*")
        if path.name not in written
    }


def pid_of(home: Path) -> int:
    return int(json.loads((home / "run.json").read_text())["pid"])


def test_fresh_push_arms_the_host(link: Link, home: Path) -> None:
    """From nothing to a daemon that enforces the policy; all of it for the owner only; each step told."""
    steps: list[str] = []
    result = push(link, config(), progress=steps.append)
    status = parse_status(StatusClient(link).status())
    assert (result.changed, result.version, result.build) == (True, status.version, own_program().build)
    assert (status.policy.lease_deadline, status.policy.hard_deadline) == (LEASE, HARD)
    assert status.enforcing
    assert len(steps) == 3
    modes = {path.lstat().st_mode & 0o077 for path in [home, *home.rglob("*")] if not path.is_symlink()}
    assert modes == {0}
    assert os.readlink(home / "current") == f"releases/{own_program().release}"


def test_unchanged_push_touches_nothing(link: Link, home: Path) -> None:
    """Same build, same limits, healthy: not a file, not the process."""
    push(link, config())
    before, pid = snapshot(home), pid_of(home)
    result = push(link, config())
    assert not result.changed
    assert (snapshot(home), pid_of(home)) == (before, pid)


def test_account_key_is_private_and_goes_when_it_is_not_wanted(link: Link, home: Path) -> None:
    """Where a person agreed to it; who takes the consent back takes the key back with the next push."""
    push(link, config(), account_key="test-key-of-an-account")
    assert (home / "account.key").read_text() == "test-key-of-an-account\n"
    assert (home / "account.key").stat().st_mode & 0o777 == 0o600
    assert not push(link, config(), account_key="test-key-of-an-account").changed
    assert push(link, config()).changed
    assert not (home / "account.key").exists()


def test_new_limits_need_no_restart(link: Link, home: Path) -> None:
    """Only config.json is replaced; the running daemon takes it up."""
    push(link, config())
    pid = pid_of(home)
    result = push(link, config(revision=2, idle_timeout_s=600))
    client = StatusClient(link)
    until(lambda: parse_status(client.status()).policy.idle_timeout == timedelta(minutes=10))
    assert (result.changed, pid_of(home)) == (True, pid)


def test_upgrade_keeps_lease_and_token(link: Link, home: Path) -> None:
    """An extended lease survives the next version; other dashboards keep their token."""
    push(link, config())
    client = StatusClient(link)
    client.extend(LEASE + timedelta(hours=2))
    token = (home / "token").read_text()
    result = push(link, config(), wanted=newer())
    status = parse_status(client.status())
    assert (result.version, status.version) == ("0.2.0", "0.2.0")
    assert status.policy.lease_deadline == LEASE + timedelta(hours=2)
    assert (home / "token").read_text() == token


def test_two_releases_are_kept(link: Link, home: Path) -> None:
    """The one that runs and the one before."""
    for build in (own_program(), newer(), newer(b"0.3.0")):
        push(link, config(), wanted=build)
    assert sorted(os.listdir(home / "releases")) == sorted([newer().release, newer(b"0.3.0").release])


def dies_at_start() -> Program:
    return spoiled(b"class Daemon:\n", b"class Daemon:\n    def __new__(cls, *_: object): os._exit(9)\n")


def does_not_compile() -> Program:
    return program(own_program().source + b"\nthis is no python\n")


def says_another_build() -> Program:
    return spoiled(b"hexdigest()[:12])", b"hexdigest()[:11])")


@pytest.mark.parametrize("broken", [dies_at_start, does_not_compile, says_another_build])
def test_broken_build_is_taken_back(link: Link, home: Path, broken: Callable[[], Program]) -> None:
    """What ran before runs, with its configuration, lease and link; the text says what was wrong."""
    push(link, config(), account_key="test-key-of-before")
    StatusClient(link).extend(LEASE + timedelta(hours=1))
    before = (os.readlink(home / "current"), (home / "config.json").read_text())
    with pytest.raises(PushFailed) as caught:
        push(link, config(revision=5), wanted=broken())
    assert (home / "account.key").read_text() == "test-key-of-before\n"
    status = parse_status(StatusClient(link).status())
    assert (status.version, status.policy.lease_deadline) == (own_program().version, LEASE + timedelta(hours=1))
    assert (os.readlink(home / "current"), (home / "config.json").read_text()) == before
    assert caught.value.hint in {"What ran before runs again.", "What ran before was not touched."}


def test_build_that_dies_after_its_start_is_taken_back(link: Link, home: Path) -> None:
    """It serves, then ends at the first question through the link: seen without waiting for all the time allowed."""
    push(link, config(), account_key="test-key-of-before")
    asked = b"    def _health(self, _request: Request) -> Answer:\n"
    dying = b"        if self.__dict__.setdefault('asked', []): os._exit(1)\n        self.asked.append(1)\n"
    begun = time.monotonic()
    with pytest.raises(PushFailed, match="What ran before runs again"):
        push(link, config(), wanted=spoiled(asked, asked + dying), account_key="test-key-of-now")
    assert time.monotonic() - begun < HEALTH_S
    assert (home / "account.key").read_text() == "test-key-of-before\n"
    assert StatusClient(link).status()["build"] == own_program().build


def test_broken_first_build_leaves_nothing_running(link: Link, home: Path) -> None:
    """Nothing ran before: nothing runs after, and no link names the broken build."""
    with pytest.raises(PushFailed, match="Nothing ran there before"):
        push(link, config(), wanted=dies_at_start(), account_key="test-key-of-now")
    assert not (home / "account.key").exists()
    assert not (home / "current").exists()
    assert not (home / "run.json").exists()


def test_bad_configuration_is_refused_before_anything_is_touched(link: Link, home: Path) -> None:
    """The new limits are looked at by the new build first; its words reach the person."""
    push(link, config())
    before, pid = snapshot(home), pid_of(home)
    with pytest.raises(PushFailed, match="idle_timeout_s"):
        push(link, config(idle_timeout_s=-1))
    after = snapshot(home)
    assert {name: after[name] for name in ("config.json", "current", "token")} == {
        name: before[name] for name in ("config.json", "current", "token")
    }
    assert pid_of(home) == pid


def test_killed_daemon_is_started_again(link: Link, home: Path) -> None:
    """Same files, no process: the push starts it, and its lease is as it was."""
    push(link, config())
    StatusClient(link).extend(LEASE + timedelta(hours=1))
    os.kill(pid_of(home), 9)
    result = push(link, config())
    assert result.changed
    assert parse_status(StatusClient(link).status()).policy.lease_deadline == LEASE + timedelta(hours=1)


def test_tampered_release_is_replaced(link: Link, home: Path) -> None:
    """A file that differs from its hash is not taken for ours."""
    push(link, config())
    release = home / "releases" / own_program().release
    release.write_text(release.read_text() + "\n# changed\n")
    assert push(link, config()).changed
    assert release.read_bytes() == own_program().source


def test_host_without_sftp(hosts: Hosts, tmp_path: Path) -> None:
    """A push needs nothing but a command."""
    with Sshd(tmp_path / "s", "Subsystem none /bin/false") as sshd:
        link = hosts.link(sshd.instance())
        assert push(link, config()).changed
        link.exec("python3 ~/.gpudash/current --stop", timeout=PATIENCE_S)


def test_host_without_python(link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, one that is too old, one that does not run: said in words a person can act on."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setattr("gpudash.hosts.probe.PYTHONS", ("/nowhere/python3", str(old), "/bin/false"))
    with pytest.raises(PushFailed, match=r"no Python 3\.8"):
        push(link, config())


def test_two_pushes_at_once(link: Link, home: Path) -> None:
    """One wins, or both find the same; never two daemons, never none."""
    faults: list[BaseException] = []

    def go() -> None:
        try:
            push(link, config())
        except PushFailed as exc:
            faults.append(exc)

    crowd = [threading.Thread(target=go) for _ in range(3)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert all("another push" in str(fault) for fault in faults)
    assert StatusClient(link).status()["build"] == own_program().build
    assert not push(link, config()).changed


def test_cut_in_the_middle_leaves_a_whole_host(link: Link, sshd: Sshd, home: Path) -> None:
    """The connection is cut while the host installs: the host ends up with a daemon, and a second push finds it."""
    cutters: list[threading.Thread] = []

    def cut() -> None:
        until(lambda: (home / "releases").exists())
        sshd.cut()

    def progress(step: str) -> None:
        if step.startswith("starting"):
            cutters.append(threading.Thread(target=cut))
            cutters[0].start()

    with contextlib.suppress(HostError):
        push(link, config(), progress=progress)
    cutters[0].join()
    until(lambda: (home / "run.json").exists() and link.wait_up(PATIENCE_S))
    push(link, config())
    assert StatusClient(link).status()["build"] == own_program().build


def test_secrets_are_in_no_argument(link: Link, home: Path, sshd: Sshd) -> None:
    """The token is in its file and nowhere else: no argv, no log."""
    push(link, config())
    StatusClient(link).status()
    token = (home / "token").read_text().strip()
    assert token not in "".join(arguments().values())
    assert token not in sshd.log()
    assert token not in (home / "statusd.log").read_text()


# ---- the client


def test_client_asks_over_one_stream(link: Link, sshd: Sshd) -> None:
    """Status, extend, activity: answers that make sense, one exec and one stream for all."""
    push(link, config())
    client = StatusClient(link)
    assert client.health()["ok"]
    assert client.extend(LEASE + timedelta(hours=1)) == LEASE + timedelta(hours=1)
    held = client.activity(600)
    assert held is not None
    assert timedelta(seconds=500) < held - datetime.now(UTC) < timedelta(seconds=700)
    assert client.activity() == held
    assert parse_status(client.status()).awake_because is not None
    client.close()


def test_client_reads_history_and_log(link: Link) -> None:
    """What happened on the host, minute by minute and line by line."""
    push(link, config())
    client = StatusClient(link)
    history = client.history()
    assert len(history.minutes) >= 1
    assert "declared" in {signal.name for signal in history.signals}
    (newest,) = client.log(1)
    assert newest in client.log()[-2:]


def test_client_names_its_own_link(link: Link) -> None:
    """Our own connection is told to the daemon, so that it counts no session of a person."""
    push(link, config())
    client = StatusClient(link)
    client.status()
    assert client._settings is not None
    address, port = client._settings.peer.split()
    transport = link.wait_up(PATIENCE_S)
    assert (address, int(port)) == transport.sock.getsockname()[:2]


def test_hard_deadline_is_refused_with_the_room_left(link: Link) -> None:
    """The daemon's no becomes ours, with how much more there is."""
    push(link, config())
    with pytest.raises(Refused, match="hard deadline") as caught:
        StatusClient(link).extend(HARD + timedelta(seconds=1))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("At most ")


def test_client_follows_a_restarted_daemon(link: Link, home: Path) -> None:
    """Another port and another token after a restart: the next question finds out by itself."""
    push(link, config())
    client = StatusClient(link)
    client.status()
    link.exec("python3 ~/.gpudash/current --stop", timeout=PATIENCE_S)
    (home / "token").write_text("another-token\n")
    changed = config()
    changed["port"] = 45679
    push(link, changed)
    assert client.status()["build"] == own_program().build


def test_client_after_an_outage(link: Link, sshd: Sshd) -> None:
    """The link broke and came back: the next question is answered."""
    push(link, config())
    client = StatusClient(link)
    client.status()
    sshd.cut()
    until(lambda: link.generation >= 2)
    assert client.status()["build"] == own_program().build


def test_no_statusd_is_said_with_the_key_that_helps(link: Link, home: Path) -> None:
    """Never pushed, or died: the text names what to press."""
    client = StatusClient(link)
    with pytest.raises(StatusdError, match="Press p"):
        client.status()
    push(link, config())
    client.status()
    os.kill(pid_of(home), 9)
    with pytest.raises(StatusdError, match="Press p"):
        client.status()


def test_shutdown_runs_the_end_command(link: Link, sshd: Sshd, tmp_path: Path) -> None:
    """The daemon ends its host when asked."""
    ending = config()
    ending["end"]["stop"] = ["touch", str(tmp_path / "ended")]
    ending["hook_timeout_s"] = 1
    push(link, ending)
    StatusClient(link).shutdown(EndAction.STOP)
    until(lambda: (tmp_path / "ended").exists())


def test_settings_never_show_the_token(link: Link) -> None:
    """Not even in a traceback."""
    push(link, config())
    client = StatusClient(link)
    client.status()
    assert client._settings is not None
    assert client._settings.token not in repr(client._settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        client._settings.port = 1  # type: ignore[misc]
    with pytest.raises(NoService):
        link.open_channel("127.0.0.1", 1, 5)
