"""A host for tests: the real statusd in a subprocess, a clock the test holds in its hand, and fake tools on PATH."""

from __future__ import annotations

import copy
import glob
import http.client
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S

STATUSD = Path(__file__).resolve().parents[2] / "gpudash" / "statusd.py"
START = 1893456000.0  # 2030-01-01T00:00:00Z, where every test's clock begins
TOKEN = "test-token-0123456789"


def utc(epoch: float) -> str:
    """A moment as statusd writes it."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def after(seconds: float) -> str:
    """A moment that long after the beginning of the test's time."""
    return utc(START + seconds)


def until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE_S) -> Any:
    """Poll a condition of a real process until it holds."""
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout} s: {what}")


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A nested table with some of its values replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both_tables else value
    return result


class Reply:
    """One HTTP answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Host:
    """One host: its home folder, its clock file, its PATH, and the daemon that runs on it."""

    def __init__(self, root: Path, python: str = sys.executable) -> None:
        self.home, self.bin, self.python = root / "home", root / "bin", python
        self.clock_path, self.ended_path, self.output_path = root / "clock.json", root / "ended", root / "output"
        self.home.mkdir(mode=0o700)
        self.bin.mkdir()
        (self.home / "token").write_text(TOKEN)
        self.now, self.speed, self.wall_offset, self.synced = START, 0.0, 0.0, None
        self.process: subprocess.Popen[bytes] | None = None
        self.env = dict(os.environ, PATH=f"{self.bin}:/usr/bin:/bin", GPUDASH_CLOCK_FILE=str(self.clock_path))
        self.set_clock()
        self.config: dict[str, Any] = {
            "schema": 1,
            "instance": {"account": "work", "region": "here", "id": "i-1", "name": "train"},
            "provider": "sandbox",
            "policy": {"lease_deadline": after(4 * 3600), "hard_deadline": after(8 * 3600), "revision": 1},
            "end": {
                "method": "command",
                **{verb: self.end_command(verb) for verb in ("stop", "hibernate", "terminate")},
            },
            "gpus": 0,
            "ignore_signals": ["cpu", "net", "disk", "ssh"],
            "sample_interval_s": 0.05,
            "wall": False,
        }

    # -- the clock --

    def set_clock(self) -> None:
        """Write the clock file as a sandbox does: by rename."""
        mapping = {"real0": time.time(), "virtual0": self.now, "speed": self.speed, "wall_offset_s": self.wall_offset}
        if self.synced is not None:
            mapping["synced"] = self.synced
        fresh = self.clock_path.with_suffix(".new")
        fresh.write_text(json.dumps(mapping))
        fresh.replace(self.clock_path)

    def pass_time(self, seconds: float) -> None:
        """Let that much time go by at once."""
        self.now += seconds
        self.set_clock()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock wrong, as NTP or a bad battery would; the time since boot goes on."""
        self.wall_offset += seconds
        self.set_clock()

    # -- files and tools --

    def configure(self, **changes: Any) -> None:
        """Change the configuration and write it as push does: by rename."""
        self.config = merged(self.config, changes)
        self.write_config(json.dumps(self.config))

    def write_config(self, text: str) -> None:
        """Write any text as config.json."""
        fresh = self.home / "config.new"
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self.home / "config.json")

    def script(self, path: Path, body: str) -> Path:
        """An executable shell script."""
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def end_command(self, verb: str, code: int = 0) -> list[str]:
        """An end command that leaves a trace and answers with a code."""
        return ["/bin/sh", "-c", f"echo {verb} >> {self.ended_path}; exit {code}"]

    def ended(self) -> list[str]:
        """The end commands that ran, in order."""
        return self.ended_path.read_text().split() if self.ended_path.exists() else []

    def state(self) -> dict[str, Any]:
        """The state file as it is now."""
        return json.loads((self.home / "state.json").read_text())

    # -- the daemon --

    def command(self, *arguments: str) -> list[str]:
        return [self.python, "-I", "-S", str(STATUSD), "--home", str(self.home), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end."""
        if not (self.home / "config.json").exists():
            self.configure()
        return subprocess.run(
            self.command(*arguments), env=self.env, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def start(self, **changes: Any) -> Host:
        """Start the daemon in the foreground and wait until it answers."""
        if changes or not (self.home / "config.json").exists():
            self.configure(**changes)
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                self.command("--foreground"), env=self.env, stdout=output, stderr=subprocess.STDOUT
            )
        until(self.is_up, "statusd answers")
        return self

    def is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"statusd ended: {self.output_path.read_text()}")
        try:
            run = json.loads((self.home / "run.json").read_text())
            return bool(run["pid"] == self.process.pid and self.get("/health", token=None).status == 200)
        except (OSError, ValueError):
            return False

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the answer is the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        if self.process is None and (self.home / "lock").exists():
            subprocess.run(self.command("--stop"), env=self.env, capture_output=True, timeout=PATIENCE_S)

    # -- HTTP --

    @property
    def port(self) -> int:
        return int(json.loads((self.home / "run.json").read_text())["port"])

    def request(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request over a connection of its own."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = "Bearer " + token
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Reply:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return self.request("POST", path, body, **more)

    def status(self) -> dict[str, Any]:
        """The /status document."""
        reply = self.get("/status")
        assert reply.status == 200, reply.body
        return dict(reply.json)

    def wait(
        self, condition: Callable[[dict[str, Any]], Any], what: str, timeout: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Poll /status until a condition holds; the answer is that document."""
        last: dict[str, Any] = {}

        def look() -> bool:
            last.clear()
            last.update(self.status())
            return bool(condition(last))

        try:
            until(look, what, timeout)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; the last status was {json.dumps(last, indent=1)}") from None
        return last

    def settle(self) -> dict[str, Any]:
        """Wait until every signal that counts has had its first sample and the clock was read."""
        self.wait(is_settled, "every sensor has looked")
        return self.wait(lambda s: s["now"] == utc(self.now) if self.speed == 0 else True, "the clock was read")

    def signal(self, name: str) -> dict[str, Any]:
        """One signal of the present status."""
        return signal_of(self.status(), name)


def refuse_power(host: Host, root: Path) -> Host:
    """A made-up system with systemd, whose power tools leave a trace and refuse: nothing here can be switched off."""
    (root / "run/systemd/system").mkdir(parents=True)
    host.env["GPUDASH_SYSROOT"] = str(root)
    for name in ("systemctl", "shutdown", "poweroff"):
        host.script(host.bin / name, f'echo "{name}-$*" >> {host.ended_path}; exit 1')
    host.script(host.bin / "sudo", '[ "$1" = -n ] && shift\n[ "$1" = true ] || exec "$@"')
    return host


def hurry(host: Host) -> None:
    """From now on a window of a minute, which stays open while the clock stands still, is over in a tenth of a second."""
    host.speed = 600.0
    host.set_clock()


def is_settled(status: dict[str, Any]) -> bool:
    """Whether no signal that counts is still waiting for its first sample."""
    return bool(status["signals"]) and not any(
        s["counts"] and s["detail"] == "first sample pending" for s in status["signals"]
    )


def signal_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """One signal of a status document."""
    return next(s for s in status["signals"] if s["name"] == name)


def alarm_codes(status: dict[str, Any]) -> set[str]:
    """The codes of all alarms that are on."""
    return {alarm["code"] for alarm in status["alarms"]}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose daemon is not yet running."""
    made = Host(tmp_path)
    yield made
    made.close()


@pytest.fixture
def second_host(tmp_path: Path) -> Iterator[Host]:
    """Another host on the same machine."""
    folder = tmp_path / "second"
    folder.mkdir()
    made = Host(folder)
    yield made
    made.close()


def interpreters() -> list[str]:
    """Every Python at hand from 3.8 on, one for each minor version."""
    found: dict[tuple[int, int], str] = {}
    pyenv = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python")))
    for path in [*pyenv, *glob.glob("/usr/bin/python3*"), shutil.which("python3") or "", sys.executable]:
        if not os.access(path, os.X_OK) or path.endswith("config"):
            continue
        asked = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
        version = tuple(int(word) for word in asked.stdout.split())
        if len(version) == 2 and version >= (3, 8):
            found.setdefault((version[0], version[1]), path)
    return [found[version] for version in sorted(found)]
