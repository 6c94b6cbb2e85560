"""statusd: the on-host status daemon. It ends the host it runs on at its lease or when idle, and says so beforehand.

It is the ONE file that `gpudash push` copies to a host, so it imports nothing but the standard library, runs on Python
3.8 and later, needs no root, and keeps working when the dashboard, the network and the disk do not.

    host files        samplers (one thread each)          clock (boot time, not the wall)
    config.json           host: cpu net disk conn ssh            |
    token, activity       gpu: NVML or nvidia-smi                |
        |                 files: watched folders                 |
        v                        v                               v
    Scribe ----------------->  Core: policy, idle and parked clocks, warnings, alarms, the plan  ---> Ender: hook,
    the only writer of         one lock; decides in the main thread; never waits for a disk           end command,
    state.json and the log       ^                                                                    retry, ladder
                                 |
                          Web: /health /status /activity /extend /shutdown /metrics / on 127.0.0.1

Rules everything here follows: a deadline is absolute and never lost; an unknown signal holds the host awake and raises
an alarm; nothing that may hang (a disk, a GPU tool, a client) is waited for by the thread that enforces.
Modules such as http.server, hashlib, argparse and shutil are left out on purpose: they would double the memory it uses.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import json
import marshal
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from _operator import _compare_digest
from datetime import datetime, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any

    Json = dict[str, Any]

VERSION = "0.1.0"
SCHEMA = 1
STATE_EVERY_S = 60.0  # the state file is at most this old, in real seconds, even when nothing happens
EVENTS_KEPT = 50
LINES_KEPT = 200  # of the log, for /log
MINUTES_KEPT = 360  # of every signal, for /history
EXTEND_KEYS_KEPT = 200
WARN_MINUTES = (15, 5, 1)
BOOT_GRACE_S = 300.0  # a lease that ran out while the host was off leaves this long after the boot, once per deadline
HOLD_LIMIT_S = 86400.0  # how long one declared activity may hold a host that has no deadline at all
END_TIMEOUT_S = 60.0  # an end command may take this long, and the host this long to disappear after it
RUNG_TRIES = 2  # how often all ways to one end are tried before the next end of the ladder
DESTROY_AFTER_S = 900.0  # a deadline whose milder command has failed for so long may use terminate
BODY_LIMIT = 65536
HEAD_LIMIT = 16384
CONNECTION_LIMIT = 64
SESSION_LIMIT = 32
SESSION_S = 12 * 3600.0
LINK_S = 60.0
LOG_LIMIT = 262144
WALK_LIMIT = 5000
WALK_S = 2.0
LINK_LOCAL = "http://169.254.169.254"
NEAR = ("http://127.0.0.1", "http://localhost", LINK_LOCAL, "http://[fd00:ec2::254]")  # never leaves the machine
OUTSIDE_S = 5.0  # between two looks at EC2's notices; tags, and the ways to the end, every so many of them
TAGS_EVERY, SILENCES = 6, 3
WAYS_EVERY, BROKEN_WAYS_EVERY = 360, 12
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
API_PATIENCE_S = 20.0
REPLY_LIMIT = 1 << 20
TRIED_KEPT = 20
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
SYSROOT = os.environ.get("GPUDASH_SYSROOT", "")  # prefix of /proc and /sys; tests put made-up machines there


# ---- small things ----------------------------------------------------------------------------------------------------


def utc(epoch: float | None) -> str | None:
    """A moment as `2026-01-02T03:04:05Z`; unknown stays None."""
    if epoch is None:
        return None
    return datetime.fromtimestamp(int(epoch), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: object) -> float:
    """The epoch seconds of an absolute time with its zone; ValueError for anything else."""
    if not isinstance(text, str):
        raise ValueError("not a text")
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment.timestamp()


def whole(seconds: float | None) -> int | None:
    """A duration as whole seconds that never read as below zero."""
    return None if seconds is None else max(0, int(seconds))


def spoken(seconds: float) -> str:
    """A duration as a person says it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    left = max(0, int(seconds))
    if left < 120:
        return f"{left} s"
    minutes, hours, days = left // 60, left // 3600, left // 86400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def amount(value: float) -> str:
    """A number without a tail of zeros: 98, 0.4."""
    return f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def byte_rate(value: float) -> str:
    """A rate of bytes with its unit: 4 kB/s."""
    for unit in ("B/s", "kB/s", "MB/s"):
        if value < 1000:
            return f"{amount(value)} {unit}"
        value /= 1000
    return f"{amount(value)} GB/s"


def is_number(value: object) -> bool:
    """True for a finite int or float; a JSON true is not a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15


def read_text(path: str) -> str:
    """The text of a file below the system root (see SYSROOT)."""
    with open(SYSROOT + path, encoding="utf-8", errors="replace") as file:
        return file.read()


def find_program(name: str, folders: list[str] | None = None) -> str | None:
    """The first executable of that name in these folders, else on PATH; a path stands for itself."""
    for folder in folders or os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def write_atomic(path: str, content: bytes) -> None:
    """Replace a file so that a crash or a full disk leaves the old one or the new one, never a part."""
    temporary = path + ".tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        remove(temporary)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(path: str) -> None:
    """Delete a file that may not be there."""
    try:
        os.unlink(path)
    except OSError:
        return


def own_build() -> str:
    """The first 12 hex digits of the SHA-256 of this file: which build this is."""
    try:  # the small C modules, because hashlib maps all of OpenSSL (3 MB) for one digest
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256
    with open(os.path.realpath(__file__), "rb") as file:
        return str(sha256(file.read()).hexdigest()[:12])


class Problem(Exception):
    """Something a person has to hear, with the exit code that goes with it."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Refusal(Exception):
    """A request that is answered with a 4xx and a JSON document that names what is wrong."""

    def __init__(self, status: int, text: str, **more: object) -> None:
        super().__init__(text)
        self.status = status
        self.document: Json = {"error": text}
        self.document.update(more)


# ---- configuration: one table makes defaults, checks and messages ----------------------------------------------------

ACTIONS = ("stop", "hibernate", "terminate")


def _kind(claim: str, test: Callable[[Any], bool]) -> tuple[str, Callable[[Any], bool]]:
    return claim, test


def _is_time(value: Any) -> bool:
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _is_chain(value: Any) -> bool:
    return isinstance(value, list) and (_is_texts(value) or all(isinstance(step, dict) for step in value))


def _is_url(value: Any) -> bool:
    """Secrets go over TLS and nowhere else, except to this very machine."""
    if not isinstance(value, str) or any(mark in value for mark in "@{} \r\n"):
        return False
    return value.startswith("https://") or any((value + "/").startswith((near + ":", near + "/")) for near in NEAR)


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value < 600


KINDS = {
    "schema": _kind("the number 1 (this statusd knows no other)", lambda v: v == 1 and not isinstance(v, bool)),
    "name": _kind("a text that is not empty", lambda v: isinstance(v, str) and bool(v)),
    "text": _kind("a text", lambda v: isinstance(v, str)),
    "flag": _kind("true or false", lambda v: isinstance(v, bool)),
    "time": _kind("an absolute time with its zone", _is_time),
    "seconds": _kind("a number of seconds above 0", lambda v: is_number(v) and v > 0),
    "interval": _kind("a number of seconds from 0.05 to 300", lambda v: is_number(v) and 0.05 <= v <= 300),
    "hook": _kind("a number of seconds from 1 to 3600", lambda v: is_number(v) and 1 <= v <= 3600),
    "level": _kind("a number of at least 0", lambda v: is_number(v) and v >= 0),
    "count": _kind("a whole number of at least 0", _is_count),
    "port": _kind("a port number from 1 to 65535", _is_port),
    "ports": _kind("a list of port numbers", lambda v: isinstance(v, list) and all(map(_is_port, v))),
    "texts": _kind("a list of texts", _is_texts),
    "argv": _kind("a list: program and arguments", lambda v: _is_texts(v) and bool(v)),
    "action": _kind("one of stop, hibernate, terminate", lambda v: v in ACTIONS),
    "lease": _kind("one of terminate, stop, hibernate", lambda v: v in ACTIONS),
    "method": _kind('"chain", "command" or "none"', lambda v: v in ("chain", "command", "none")),
    "chain": _kind("a program with its arguments, or a list of steps", _is_chain),
    "verb": _kind("one of GET, POST, PUT, PATCH, DELETE", lambda v: v in ("GET", "POST", "PUT", "PATCH", "DELETE")),
    "url": _kind("an https address without a user, a password or a place for the token", _is_url),
    "table": _kind("a table of texts", lambda v: isinstance(v, dict) and all(isinstance(t, str) for t in v.values())),
    "object": _kind("a JSON object", lambda v: isinstance(v, dict)),
    "statuses": _kind("a list of HTTP statuses", lambda v: isinstance(v, list) and all(map(_is_status, v))),
}

REQUIRED = object()

# How a host ends itself: the fields of a step, by its method. `gpudash/providers/README.md` tells adapters how to use it.
STEPS: Json = {
    "command": {"argv": ("argv", REQUIRED, ["/opt/end", "stop"])},
    "poweroff": {},
    "ec2": {"region": ("text", "", "us-west-1"), "endpoint": ("url", None, "https://ec2.us-west-1.amazonaws.com")},
    "http": {
        "verb": ("verb", "POST", "PUT"),
        "url": ("url", REQUIRED, "https://cloud.example/instances/1"),
        "headers": ("table", {}, {"X-Team": "vision"}),
        "body": ("object", None, {"state": "stopped"}),
        "token_env": ("name", None, "CONTAINER_API_KEY"),
        "token_file": ("name", None, "account.key"),
        "only_if_env": ("table", {}, {"CONTAINER_ID": "1234"}),
        "self_url": ("url", None, "https://cloud.example/instances/1"),
        "self_fields": ("argv", ["ip"], ["data.ip", "data.private_ip"]),
        "ok_status": ("statuses", [200, 201, 202, 204], [200]),
        "ok_json": ("object", {}, {"success": True}),
    },
}

# field: kind, default (None also allows null), example for the message. A nested table is a section.
FIELDS: Json = {
    "schema": ("schema", REQUIRED, 1),
    "instance": {
        "account": ("name", REQUIRED, "work"),
        "region": ("text", "", "us-west-1"),
        "id": ("name", REQUIRED, "i-0c1f"),
        "name": ("text", "", "train-llama"),
    },
    "provider": ("text", "", "sandbox"),
    "policy": {
        "lease_deadline": ("time", None, "2026-01-02T03:04:05Z"),
        "hard_deadline": ("time", None, "2026-01-02T09:00:00Z"),
        "idle_timeout_s": ("seconds", None, 1800),
        "idle_action": ("action", "stop", "stop"),
        "lease_action": ("lease", "terminate", "terminate"),
        "parked_timeout_s": ("seconds", None, 3600),
        "revision": ("count", 0, 1),
    },
    "end": {
        "method": ("method", "chain", "chain"),
        "stop": ("chain", None, [{"method": "poweroff"}]),
        "hibernate": ("chain", None, [{"method": "ec2"}]),
        "terminate": ("chain", None, ["/opt/end", "--terminate"]),
        "poweroff": ("chain", None, [{"method": "poweroff"}]),
    },
    "service_ports": ("ports", [], [8000]),
    "ssh_port": ("port", 22, 22),
    "watch_paths": ("texts", [], ["~/work"]),
    "last_request_file": ("name", None, "/run/service/last-request"),
    "ignore_signals": ("texts", [], ["cpu", "net"]),
    "gpus": ("count", None, 0),
    "metadata": {"use": ("flag", None, True), "url": ("url", LINK_LOCAL, "http://127.0.0.1:1338")},
    "thresholds": {
        "gpu_pct": ("level", 5, 5),
        "gpu_mem_mib": ("level", 1024, 1024),
        "cpu_pct": ("level", None, 10),
        "net_bytes_s": ("level", 100000, 100000),
        "disk_bytes_s": ("level", 1000000, 1000000),
    },
    "sample_interval_s": ("interval", 5, 5),
    "gpu_window_s": ("seconds", 60, 60),
    "hook_timeout_s": ("hook", 60, 60),
    "port": ("port", 8080, 8080),
    "wall": ("flag", True, True),
}

SIGNALS = ("gpu", "gpu_mem", "cpu", "net", "disk", "conn", "requests", "ssh", "files", "declared")
RUNGS = (*ACTIONS, "poweroff")


def check_section(given: object, fields: Json, where: str, errors: list[str], unknown: list[str]) -> Json:
    """One section with its defaults filled in; what is wrong or unknown is added to the two lists."""
    if not isinstance(given, dict):
        errors.append("{} must be a JSON object; it is {}".format(where.rstrip(".") or "the file", json.dumps(given)))
        given = {}
    unknown.extend(where + key for key in given if key not in fields)
    section: Json = {}
    for key, rule in fields.items():
        if isinstance(rule, dict):
            section[key] = check_section(given.get(key, {}), rule, where + key + ".", errors, unknown)
            continue
        kind, default, example = rule
        value = given.get(key, default)
        claim, is_right = KINDS[kind]
        if value is REQUIRED:
            errors.append(f"{where + key} is missing: {claim}, for example {json.dumps(example)}")
        elif not (value is None and default is None) and not is_right(value):
            text = "%s must be %s, for example %s; it is %s"
            errors.append(text % (where + key, claim, json.dumps(example), json.dumps(value)))
        section[key] = value
    return section


def check_end(end: Json, errors: list[str], unknown: list[str]) -> None:
    """Make every entry of `end` a chain of whole steps, in place; a bare command is a chain of one."""
    is_explicit = end["method"] == "command"
    for rung in RUNGS:
        given = end[rung] or []
        chain = [{"method": "command", "argv": given}] if given and isinstance(given[0], str) else given
        end[rung] = [check_step(step, f"end.{rung}[{number}].", errors, unknown) for number, step in enumerate(chain)]
    if is_explicit and not any(end[action] for action in ACTIONS):
        errors.append('end.method is "command" but no command stands beside it, for example "stop": ["poweroff"]')
    if end["method"] == "none":
        end.update((rung, []) for rung in RUNGS)


def check_step(given: Json, where: str, errors: list[str], unknown: list[str]) -> Json:
    """One step of a chain with its defaults filled in."""
    method = given.get("method")
    fields = STEPS.get(method) if isinstance(method, str) else None
    if fields is None:
        errors.append("{}method must be one of {}; it is {}".format(where, ", ".join(STEPS), json.dumps(method)))
        return {}
    rest = {name: value for name, value in given.items() if name != "method"}
    step = dict(check_section(rest, fields, where, errors, unknown), method=method)
    if method == "http" and step["token_env"] and step["token_file"]:
        errors.append(f"{where}token_env and {where}token_file: name one place for the token, not two")
    return step


def check_config(given: object) -> tuple[Json, list[str]]:
    """A whole configuration with defaults, and its unknown keys; Problem lists everything that is wrong."""
    errors: list[str] = []
    unknown: list[str] = []
    config = check_section(given, FIELDS, "", errors, unknown)
    if not errors:
        check_end(config["end"], errors, unknown)
    if errors:
        raise Problem("\n".join("config.json: " + error for error in errors))
    for name in config["ignore_signals"]:
        if name not in SIGNALS:
            errors.append("ignore_signals names {}; the signals are {}".format(json.dumps(name), ", ".join(SIGNALS)))
    if errors:
        raise Problem("\n".join("config.json: " + error for error in errors))
    return config, unknown


def load_config(path: str) -> tuple[Json, list[str]]:
    """Read and check config.json; every way it can be bad becomes one clear Problem."""
    try:
        with open(path, "rb") as file:
            given = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        raise Problem(f"{path} is missing; `gpudash push` writes it") from None
    except OSError as exc:
        raise Problem(f"{path} cannot be read: {exc.strerror}") from None
    except ValueError as exc:
        raise Problem(f"{path} is not JSON: {exc}") from None
    return check_config(given)


def instance_key(config: Json) -> str:
    """The identity a state file belongs to; a cloned disk brings another host's state along."""
    instance = config["instance"]
    return "|".join((instance["account"], instance["region"], instance["id"]))


# ---- clock -----------------------------------------------------------------------------------------------------------


def boot_seconds() -> float:
    """Seconds on a clock that no one can set and that also counts suspended time."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def kernel_boot_id() -> str:
    """What the kernel calls this boot."""
    with contextlib.suppress(OSError):
        return read_text("/proc/sys/kernel/random/boot_id").strip()
    try:
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=5,
        )
        return asked.stdout.decode().strip() or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def run_identity(boot_id: str) -> str:
    """Which start of this host it is: a restarted container keeps the kernel's boot id but gets a new first process."""
    try:
        first = read_text("/proc/1/stat").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        first = ""
    return "|".join((boot_id, first, os.environ.get("GPUDASH_BOOT_ID", "")))


def kernel_synchronised() -> bool:
    """Whether the kernel says that NTP disciplines the wall clock; False where it cannot say."""
    try:
        return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) in (0, 1, 2, 3, 4))
    except (AttributeError, OSError):
        return False


class Clock:
    """The time that policies use: the wall clock read once, then carried on by the boot clock.

    A wall clock that jumps later changes nothing but an alarm, with two exceptions. Steps that add up to at most
    TOLERANCE_S an hour are followed (NTP corrections, leap seconds). And a clock first read before NTP had set it
    follows the wall once the kernel says that it is synchronised.
    After a reboot the time is the later of the wall clock and the last moment seen, so no deadline is stretched.
    GPUDASH_CLOCK_FILE maps this trusted time to a virtual one; that mapping may be rewritten at any time.
    """

    TOLERANCE_S = 30.0

    def __init__(self, saved: Json, boot_id: str) -> None:
        self.boot_id = boot_id
        self.speed = 1.0
        self._path = os.environ.get("GPUDASH_CLOCK_FILE")
        self._stamp: tuple[int, ...] = ()
        self._mapping: tuple[float, float, float] | None = None  # replaced as a whole: threads read it
        self._offset = 0.0
        self._synced_told: bool | None = None
        self._followed: list[tuple[float, float]] = []
        self._read_file()
        boot, last_seen = boot_seconds(), float(saved.get("last_seen") or 0)
        if saved.get("boot_id") == boot_id and 0 <= float(saved.get("boot", -1)) <= boot:
            self._wall0, self._boot0, self.synced = (
                float(saved["wall"]),
                float(saved["boot"]),
                bool(saved.get("synced")),
            )
        else:
            self._wall0, self._boot0, self.synced = max(self.wall(), last_seen), boot, self._is_synchronised()

    def saved(self) -> Json:
        """What the state file keeps of this clock."""
        return {
            "boot_id": self.boot_id, "wall": self._wall0, "boot": self._boot0, "synced": self.synced,
            "last_seen": self.trusted(),
        }  # fmt: skip

    def wall(self) -> float:
        """What the wall clock says, right or wrong."""
        return time.time() + self._offset

    def trusted(self) -> float:
        """Real UTC as this daemon believes it."""
        return self._wall0 + boot_seconds() - self._boot0

    def now(self) -> float:
        """The time that leases, idle clocks and warnings use."""
        self._read_file()
        mapping = self._mapping
        if mapping is None:
            return self.trusted()
        real0, virtual0, speed = mapping
        return virtual0 + (self.trusted() - real0) * speed

    def wall_jump(self) -> tuple[str, str]:
        """Compare wall and trusted time: (what was followed, what is refused), empty when they agree."""
        gap = self.wall() - self.trusted()
        if abs(gap) < 0.25:
            return "", ""
        boot = boot_seconds()
        self._followed = [(at, step) for at, step in self._followed if boot - at < 3600]
        if abs(gap) + sum(step for _, step in self._followed) <= self.TOLERANCE_S:
            self._followed.append((boot, abs(gap)))
            self._wall0 += gap
            return "", ""
        if not self.synced and self._is_synchronised():
            self._wall0, self.synced = self._wall0 + gap, True
            return f"the clock was set by NTP after the start; time moved by {gap:+.0f} s", ""
        text = "the wall clock is %+.0f s off the time counted since boot; deadlines follow the counted time, now %s"
        return "", text % (gap, utc(self.trusted()))

    def _is_synchronised(self) -> bool:
        return kernel_synchronised() if self._synced_told is None else self._synced_told

    def _read_file(self) -> None:
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp == self._stamp:
                return
            with open(self._path, "rb") as file:
                given = json.loads(file.read().decode("utf-8"))
            self.speed = max(0.0, float(given["speed"]))
            self._mapping = float(given["real0"]), float(given["virtual0"]), self.speed
            self._offset = float(given.get("wall_offset_s") or 0)
            told = given.get("synced")
            self._synced_told = told if isinstance(told, bool) else None
            self._stamp = stamp
        except (OSError, ValueError, KeyError, TypeError):
            return  # half written or gone: the last mapping goes on, and the next look finds the new one


# ---- sensors: what each signal reads ---------------------------------------------------------------------------------


class Reading:
    """One signal at one moment. `pending` marks a first look that cannot know a difference yet."""

    __slots__ = ("at", "detail", "name", "pending", "period", "text", "threshold", "unit", "value", "verdict")

    def __init__(
        self, name: str, verdict: str, value: float | None = None, unit: str = "", threshold: float | None = None,
        detail: str = "", text: str = "", pending: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.verdict, self.value, self.unit = name, verdict, value, unit
        self.threshold, self.detail, self.text, self.pending = threshold, detail, text, pending
        self.at = boot_seconds()
        self.period = 5.0


def unknown(name: str, detail: str) -> Reading:
    """A reading that says why nothing is known."""
    return Reading(name, "unknown", detail=detail)


def pending(name: str) -> Reading:
    """A reading of a sensor that has only looked once."""
    return Reading(name, "unknown", detail="first sample pending", pending=True)


class Differences:
    """Turns counters (a table of totals) into a rate; a counter that restarts or appears adds nothing at first."""

    def __init__(self) -> None:
        self._at = 0.0
        self._totals: dict[str, float] = {}
        self._source = ""

    def rate(self, totals: dict[str, float], source: str = "") -> float | None:
        """Units per second since the last call; None at the first, or when the source of the counters changed."""
        at, earlier, old = boot_seconds(), self._at, self._totals
        is_first = earlier == 0 or source != self._source
        self._at, self._totals, self._source = at, totals, source
        if is_first or at <= earlier:
            return None
        grown = sum(max(0.0, total - old[key]) for key, total in totals.items() if key in old)
        return grown / (at - earlier)


def in_container() -> bool:
    """Whether /proc/stat and meminfo speak of a bigger machine than ours."""
    if any(os.path.exists(SYSROOT + path) for path in ("/.dockerenv", "/run/.containerenv")):
        return True
    if os.path.exists(SYSROOT + "/sys/fs/cgroup/cgroup.type"):  # the true root of cgroup v2 has no such file
        return True
    try:
        first = read_text("/proc/1/cgroup")
    except OSError:
        return False
    return any(mark in first for mark in ("docker", "kubepods", "containerd", "lxc", "libpod"))


def cgroup_file(*paths: str) -> str | None:
    """The text of the first of these cgroup files that exists."""
    for path in paths:
        with contextlib.suppress(OSError):
            return read_text("/sys/fs/cgroup/" + path)
    return None


def cpu_count() -> float:
    """The cores this host may use: the container's quota, else what the scheduler allows."""
    quota = (cgroup_file("cpu.max") or "").split()
    if len(quota) == 2 and quota[0].isdigit():
        return int(quota[0]) / int(quota[1])
    old_quota = cgroup_file("cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us")
    old_period = cgroup_file("cpu/cpu.cfs_period_us", "cpu,cpuacct/cpu.cfs_period_us")
    if old_quota and old_period and int(old_quota) > 0:
        return int(old_quota) / int(old_period)
    if hasattr(os, "sched_getaffinity"):
        return float(len(os.sched_getaffinity(0)))
    return float(os.cpu_count() or 1)


def container_cpu_seconds() -> float | None:
    """CPU time this container has used, from cgroup v2 or v1."""
    new = cgroup_file("cpu.stat")
    if new is not None:
        return float(dict(line.split() for line in new.splitlines())["usage_usec"]) / 1e6
    old = cgroup_file("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
    return None if old is None else int(old) / 1e9


def container_disk_bytes() -> dict[str, float] | None:
    """Bytes this container has read and written per device, from cgroup v2 or v1."""
    new = cgroup_file("io.stat")
    if new is not None:
        totals: dict[str, float] = {}
        for line in new.splitlines():
            device, *pairs = line.split()
            counts = dict(pair.split("=") for pair in pairs if "=" in pair)
            totals[device] = float(counts.get("rbytes", 0)) + float(counts.get("wbytes", 0))
        return totals
    old = cgroup_file("blkio/blkio.throttle.io_service_bytes")
    if old is None:
        return None
    rows = [line.split() for line in old.splitlines()]
    return {row[0] + row[1]: float(row[2]) for row in rows if len(row) == 3 and row[1] in ("Read", "Write")}


def process_disk_bytes() -> dict[str, float]:
    """Bytes each process we may look at has read and written: the container's disk where its cgroup tells nothing."""
    totals: dict[str, float] = {}
    for pid in os.listdir(SYSROOT + "/proc"):
        if pid.isdigit():
            try:
                counts = dict(line.split(": ") for line in read_text(f"/proc/{pid}/io").splitlines())
            except (OSError, ValueError):
                continue
            totals[pid] = float(counts.get("read_bytes", 0)) + float(counts.get("write_bytes", 0))
    return totals


NOT_DISKS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd")
NOT_OUTSIDE = ("lo", "veth", "docker", "br-", "virbr", "ifb", "cni", "flannel", "cali")


def disk_bytes() -> dict[str, float]:
    """Bytes read and written per whole disk since boot."""
    totals: dict[str, float] = {}
    for line in read_text("/proc/diskstats").splitlines():
        row = line.split()
        name = row[2]
        if not name.startswith(NOT_DISKS) and os.path.exists(SYSROOT + "/sys/block/" + name):
            totals[name] = 512.0 * (int(row[5]) + int(row[9]))
    return totals


def net_bytes() -> dict[str, float]:
    """Bytes received and sent per outside interface since boot."""
    totals: dict[str, float] = {}
    for line in read_text("/proc/net/dev").splitlines()[2:]:
        name, _, counts = line.partition(":")
        if not name.strip().startswith(NOT_OUTSIDE):
            row = counts.split()
            totals[name.strip()] = float(row[0]) + float(row[8])
    return totals


def plain_address(packed: bytes) -> str:
    """An address as people write it; an IPv4 address mapped into IPv6 reads as IPv4."""
    if len(packed) == 16 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def established_by_netlink() -> Iterator[tuple[int, str, int]]:
    """Every established TCP connection as (local port, remote address, remote port), asked of the kernel by sock_diag.

    That is 20 times cheaper than reading /proc/net/tcp.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:
        link.settimeout(3)
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << 1) + b"\0" * 48
            link.send(struct.pack("=IHHII", 16 + len(ask), 20, 0x301, family, 0) + ask)
            is_done = False
            while not is_done:
                answer = link.recv(65536)
                offset = 0
                while offset + 16 <= len(answer):
                    length, kind = struct.unpack_from("=IH", answer, offset)
                    if kind == 2:
                        code = -struct.unpack_from("=i", answer, offset + 16)[0]
                        raise OSError(code, os.strerror(code))
                    if kind == 3 or length < 16:
                        is_done = True
                        break
                    local, remote = struct.unpack_from("!HH", answer, offset + 20)
                    start = offset + 40
                    yield local, plain_address(answer[start : start + (4 if family == socket.AF_INET else 16)]), remote
                    offset += (length + 3) & ~3


def established_by_proc() -> Iterator[tuple[int, str, int]]:
    """The same from /proc/net/tcp and tcp6, for kernels and sandboxes without sock_diag."""
    for table in ("tcp", "tcp6"):
        try:
            lines = read_text("/proc/net/" + table).splitlines()[1:]
        except FileNotFoundError:
            if table == "tcp":
                raise
            continue
        for line in lines:
            row = line.split()
            if row[3] == "01":
                address, _, port = row[2].partition(":")
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                yield int(row[1].rpartition(":")[2], 16), plain_address(b"".join(words)), int(port, 16)


class HostSensors:
    """The cheap signals of the machine itself, read one after another by one thread."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._cpu, self._net, self._disk = Differences(), Differences(), Differences()
        self._is_container = in_container()
        self._has_netlink = not SYSROOT and hasattr(socket, "AF_NETLINK")
        self._ssh_before: set[tuple[int, str, int]] = set()
        self._busy: tuple[float, float] | None = None
        self._activity: int | None = None
        self._requested: int | None = None
        self._links: dict[tuple[str, int], float] = {}
        self._links_lock = threading.Lock()
        self.cpu_pct: float | None = None
        self.machine: Json = {"load_1m": None, "memory": memory_mib(self._is_container), "disk": disk_space()}

    def mark_link(self, address: str, port: int) -> None:
        """Remember for a minute that this SSH peer is gpudash itself."""
        with self._links_lock:
            self._links[address, port] = boot_seconds() + LINK_S

    def _own_links(self) -> set[tuple[str, int]]:
        now = boot_seconds()
        with self._links_lock:
            self._links = {peer: until for peer, until in self._links.items() if until > now}
            return set(self._links)

    def read(self, config: Json) -> list[Reading]:
        """One round. A probe that fails is unknown and does not stop the others."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.machine = {"load_1m": load, "memory": memory_mib(self._is_container), "disk": disk_space()}
        readings: list[Reading] = []
        for names, probe in (
            (("cpu",), self._read_cpu), (("net",), self._read_net), (("disk",), self._read_disk),
            (("conn", "ssh"), self._read_connections), (("requests",), self._read_requests),
            (("declared",), self._read_declared),
        ):  # fmt: skip
            try:
                readings.extend(probe(config))
            except Exception as exc:  # noqa: PERF203 - whatever breaks one probe must not stop the others
                readings.extend(unknown(name, self._why(exc)) for name in names)
        return readings

    @staticmethod
    def _why(exc: Exception) -> str:
        if isinstance(exc, FileNotFoundError) and not os.path.isdir(SYSROOT + "/proc/net"):
            return f"no /proc on {os.uname().sysname}"
        if isinstance(exc, OSError):
            return "{}: {}".format(exc.filename or "socket table", exc.strerror)
        return f"{type(exc).__name__}: {exc}"

    def _read_cpu(self, config: Json) -> list[Reading]:
        cores = cpu_count()
        used = container_cpu_seconds() if self._is_container else None
        if used is not None:
            rate = self._cpu.rate({"cpu": used})
            self.cpu_pct = None if rate is None else 100 * rate / cores
        else:
            ticks = [int(word) for word in read_text("/proc/stat").split("\n", 1)[0].split()[1:9]]
            busy, total = float(sum(ticks[:3]) + sum(ticks[5:7])), float(sum(ticks))
            before, self._busy = self._busy, (busy, total)
            if before is not None and total > before[1]:
                self.cpu_pct = 100 * (busy - before[0]) / (total - before[1])
        limit = config["thresholds"]["cpu_pct"]
        if limit is None:  # one busy core of many is work too
            limit = round(min(10.0, 80.0 / cores), 1)
        return [pending("cpu") if self.cpu_pct is None else level("cpu", self.cpu_pct, "%", limit)]

    def _read_net(self, config: Json) -> list[Reading]:
        return [level_or_pending("net", self._net.rate(net_bytes()), config["thresholds"]["net_bytes_s"])]

    def _read_disk(self, config: Json) -> list[Reading]:
        totals, source = None, "host"
        if self._is_container:
            totals, source = container_disk_bytes(), "cgroup"
            if totals is None:
                totals, source = process_disk_bytes(), "processes"
        rate = self._disk.rate(disk_bytes() if totals is None else totals, source)
        return [level_or_pending("disk", rate, config["thresholds"]["disk_bytes_s"])]

    def _read_connections(self, config: Json) -> list[Reading]:
        ports, ssh_port = config["service_ports"], config["ssh_port"]
        established = self._established()
        visits = collections.Counter(local for local, _, _ in established if local in ports)
        own = self._own_links()
        others = {peer for peer in established if peer[0] == ssh_port and peer[1:] not in own}
        # A session counts from its second round on, so that our own link has time to say that it is ours.
        sessions, self._ssh_before = others & self._ssh_before, others
        seen = ", ".join(f"{count} on port {port}" for port, count in sorted(visits.items()))
        came = ", ".join(sorted({address for _, address, _ in sessions}))
        count, guests = sum(visits.values()), len(sessions)
        return [
            Reading("conn", "active" if count else "idle", count, "connections", 0,
                    seen or ("none" if ports else "no service_ports configured"), "connections: " + seen),
            Reading("ssh", "active" if guests else "idle", guests, "sessions", 0,
                    "from " + came if came else "none but our own", f"ssh: {guests} from {came}"),
        ]  # fmt: skip

    def _established(self) -> list[tuple[int, str, int]]:
        if self._has_netlink:
            try:
                return list(established_by_netlink())
            except OSError:
                self._has_netlink = False
        return list(established_by_proc())

    def _read_requests(self, config: Json) -> list[Reading]:
        """Whether the service touched the file of its last request since the last look."""
        path = config["last_request_file"]
        if path is None:
            return [Reading("requests", "idle", detail="no last_request_file configured")]
        try:
            found = os.stat(os.path.expanduser(path))
        except FileNotFoundError:
            self._requested = 0
            return [Reading("requests", "idle", unit="s", detail="no request yet")]
        before, self._requested = self._requested, found.st_mtime_ns
        is_new = before is not None and found.st_mtime_ns != before
        age = whole(time.time() - found.st_mtime)
        return [
            Reading("requests", "active" if is_new else "idle", age, "s", None,
                    f"last request {utc(found.st_mtime)}", "the service was asked")
        ]  # fmt: skip

    def _read_declared(self, _config: Json) -> list[Reading]:
        """Whether the `activity` file was touched since the last look; declared holds are added by Core."""
        try:
            touched = os.stat(os.path.join(self._home, "activity")).st_mtime_ns
        except FileNotFoundError:
            touched = 0
        before, self._activity = self._activity, touched
        is_new = before is not None and touched not in (before, 0)
        return [Reading("declared", "active" if is_new else "idle", detail="activity file touched" if is_new else "")]


def level(name: str, value: float, unit: str, limit: float) -> Reading:
    """A reading that is active above its threshold."""
    if unit == "B/s":
        shown = f"{byte_rate(value)} (> {byte_rate(limit)})"
    else:
        shown = f"{amount(value)} {unit} (> {amount(limit)} {unit})"
    verdict = "active" if value > limit else "idle"
    return Reading(name, verdict, round(value, 1), unit, limit, "", f"{name} {shown}")


def level_or_pending(name: str, rate: float | None, limit: float) -> Reading:
    """A byte rate as a reading."""
    return pending(name) if rate is None else level(name, rate, "B/s", limit)


def memory_mib(is_container: bool) -> Json:
    """Memory used and there, of the container where we are in one."""
    try:
        table = dict(line.split(":", 1) for line in read_text("/proc/meminfo").splitlines())
        total = int(table["MemTotal"].split()[0]) // 1024
        used = total - int(table["MemAvailable"].split()[0]) // 1024
        if is_container:
            current = cgroup_file("memory.current", "memory/memory.usage_in_bytes")
            limit = (cgroup_file("memory.max", "memory/memory.limit_in_bytes") or "").strip()
            used = int(current) >> 20 if current else used
            total = min(total, int(limit) >> 20) if limit.isdigit() else total
        return {"used_mib": used, "total_mib": total}
    except (OSError, KeyError, ValueError):
        return {"used_mib": None, "total_mib": None}


def disk_space() -> Json:
    """Space used and there on the root file system, in GB."""
    try:
        found = os.statvfs("/")
    except OSError:
        return {"used_gb": None, "total_gb": None}
    total, free = found.f_blocks * found.f_frsize, found.f_bfree * found.f_frsize
    return {"used_gb": round((total - free) / 1e9, 1), "total_gb": round(total / 1e9, 1)}


class FileWalk:
    """Whether anything below the watched folders changed since the last look; compares, so no clock matters."""

    def __init__(self) -> None:
        self._before: tuple[tuple[str, ...], int, int] | None = None

    def read(self, config: Json) -> Reading:
        """One bounded walk."""
        paths = tuple(os.path.expanduser(path) for path in config["watch_paths"])
        if not paths:
            return Reading("files", "idle", detail="no watch_paths configured")
        count = stamps = newest = 0
        until = boot_seconds() + WALK_S
        for path in paths:
            for mtime in self._walk(path, WALK_LIMIT - count, until):
                count, stamps, newest = count + 1, (stamps + mtime) & (1 << 64) - 1, max(newest, mtime)
        seen = (paths, count, stamps)
        before, self._before = self._before, seen
        if before is None:
            return pending("files")
        is_changed = seen != before and before[0] == paths
        more = ", the rest not looked at" if count >= WALK_LIMIT else ""
        text = "files changed below {}".format(", ".join(config["watch_paths"]))
        return Reading("files", "active" if is_changed else "idle", count, "files", None,
                       "newest change {}{}".format(utc(newest / 1e9) if newest else "none", more), text)  # fmt: skip

    @staticmethod
    def _walk(path: str, limit: int, until: float) -> Iterator[int]:
        folders = [path]
        while folders and limit > 0 and boot_seconds() < until:
            folder = folders.pop()
            try:
                found = os.stat(folder)
                yield found.st_mtime_ns
                limit -= 1
                if not stat.S_ISDIR(found.st_mode):
                    continue
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except PermissionError:
                if folder == path:
                    raise
                continue
            for entry in entries[:limit]:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False).st_mtime_ns
                    limit -= 1


# ---- GPU: NVML kept open, else one long-lived nvidia-smi -------------------------------------------------------------


class NvmlError(Exception):
    """NVML answered with an error number."""


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu", ctypes.c_uint),
        ("compute", ctypes.c_uint),
    )


class Nvml:
    """The NVIDIA library, opened once: a sample costs microseconds and starts no process."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libnvidia-ml.so.1")
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._devices = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
            self._devices.append(handle)

    def close(self) -> None:
        """Let the library go, so that the next one starts afresh."""
        self._lib.nvmlShutdown()

    def read(self) -> list[Json]:
        """Every device; NvmlError when one does not answer its utilisation or memory."""
        return [self._read_device(index, handle) for index, handle in enumerate(self._devices)]

    def _call(self, function: str, *arguments: object) -> None:
        code = getattr(self._lib, function)(*arguments)
        if code != 0:
            raise NvmlError(f"NVML {function} answered error {code}")

    def _read_device(self, index: int, handle: ctypes.c_void_p) -> Json:
        name, load, memory = ctypes.create_string_buffer(96), _Utilization(), _Memory()
        self._call("nvmlDeviceGetName", handle, name, ctypes.c_uint(96))
        self._call("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(load))
        self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        celsius = self._number("nvmlDeviceGetTemperature", handle, ctypes.c_uint(0))
        milliwatts = self._number("nvmlDeviceGetPowerUsage", handle)
        return {
            "index": index, "name": name.value.decode("utf-8", "replace"), "util_pct": load.gpu,
            "memory_used_mib": memory.used >> 20, "memory_total_mib": memory.total >> 20, "temperature_c": celsius,
            "power_w": None if milliwatts is None else round(milliwatts / 1000, 1),
            "processes": self._processes(handle),
        }  # fmt: skip

    def _number(self, function: str, *arguments: object) -> int | None:
        value = ctypes.c_uint()
        try:
            self._call(function, *arguments, ctypes.byref(value))
        except (NvmlError, AttributeError):
            return None
        return value.value

    def _processes(self, handle: ctypes.c_void_p) -> list[Json] | None:
        count, table = ctypes.c_uint(64), (_Process * 64)()
        try:
            self._call("nvmlDeviceGetComputeRunningProcesses_v3", handle, ctypes.byref(count), table)
        except (NvmlError, AttributeError):
            return None
        return [
            {
                "pid": row.pid,
                "name": process_name(row.pid),
                "memory_mib": row.used >> 20 if row.used < 1 << 63 else None,
            }
            for row in table[: count.value]
        ]


def process_name(pid: int) -> str | None:
    """What a process calls itself, where we may see it."""
    try:
        return read_text(f"/proc/{pid}/comm").strip()
    except OSError:
        return None


SMI_FIELDS = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"


def parse_smi_line(line: str) -> Json:
    """One device from one line of nvidia-smi's csv; ValueError when it is some other text."""
    words = [word.strip() for word in line.split(",")]
    if len(words) < 7 or not words[0].isdigit():
        raise ValueError(line.strip()[:120])

    def number(word: str) -> float | None:
        try:
            return float(word)
        except ValueError:  # [N/A], [Not Supported]
            return None

    util, used, total, celsius, watts = (number(word) for word in words[-5:])
    return {
        "index": int(words[0]), "name": ", ".join(words[1:-5]), "util_pct": util, "memory_used_mib": used,
        "memory_total_mib": total, "temperature_c": celsius, "power_w": watts, "processes": None,
    }  # fmt: skip


class GpuSampler(threading.Thread):
    """Watches all devices in a thread of its own; when its source hangs, only the GPU signals become unknown."""

    def __init__(self, interval: Callable[[], float], is_wanted: Callable[[], bool]) -> None:
        super().__init__(name="gpu", daemon=True)
        self._interval, self._is_wanted = interval, is_wanted
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._gpus: list[Json] = []
        self._at: float | None = None
        self._problem = ""
        self._history: collections.deque[tuple[float, float]] = collections.deque(maxlen=4096)
        self.period = 5.0

    def run(self) -> None:
        """Try NVML, then nvidia-smi, and start over with a growing pause whenever the source is lost."""
        pause = 1.0
        while not self._stopped.is_set():
            if not self._is_wanted():  # the configuration says that there is no GPU; it may say otherwise later
                self._stopped.wait(max(1.0, self._interval()))
                continue
            began = boot_seconds()
            try:
                self._watch()
            except Exception as exc:  # one broad catch for the whole source: any failure means unknown
                self._fail(f"{exc or type(exc).__name__}")
            pause = 1.0 if boot_seconds() - began > 60 else min(60.0, pause * 2)
            self._stopped.wait(pause)

    def stop(self) -> None:
        """End the thread and the tool it started."""
        self._stopped.set()
        child = self._child
        if child is not None:
            kill_group(child)

    def latest(self) -> tuple[list[Json], float | None, str]:
        """The devices, when they were read, and what is wrong with the source."""
        with self._lock:
            return self._gpus, self._at, self._problem

    def peak(self, window_s: float) -> float | None:
        """The highest utilisation of any device within the window."""
        since = boot_seconds() - window_s
        with self._lock:
            recent = [util for at, util in self._history if at >= since] or [
                util for _, util in list(self._history)[-1:]
            ]
        return max(recent) if recent else None

    def _publish(self, gpus: list[Json]) -> None:
        loads = [gpu["util_pct"] for gpu in gpus if gpu["util_pct"] is not None]
        with self._lock:
            self._gpus, self._at, self._problem = gpus, boot_seconds(), ""
            if loads:
                self._history.append((self._at, float(max(loads))))

    def _fail(self, problem: str) -> None:
        with self._lock:
            self._problem = problem

    def _watch(self) -> None:
        try:
            nvml = Nvml()
        except (OSError, NvmlError, AttributeError) as exc:
            reason = str(exc) if isinstance(exc, NvmlError) else "no NVML library"
        else:
            try:
                self._watch_nvml(nvml)
            finally:
                nvml.close()
            return
        program = find_program("nvidia-smi")
        if program is None:
            self._stopped.wait(self._interval())
            raise Problem(f'{reason} and no nvidia-smi on PATH (say "gpus": 0 in config.json for a host without)')
        self._watch_smi(program)

    def _watch_nvml(self, nvml: Nvml) -> None:
        while not self._stopped.is_set():
            self.period = min(1.0, self._interval())
            self._publish(nvml.read())
            self._stopped.wait(self.period)

    def _watch_smi(self, program: str) -> None:
        every = max(1, round(self._interval()))
        self.period = float(every)
        ask = [program, "--query-gpu=" + SMI_FIELDS, "--format=csv,noheader,nounits", "-l", str(every)]
        child = subprocess.Popen(
            ask, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._child = child
        try:
            self._read_smi(child, every)
        finally:
            self._child = None
            kill_group(child)

    def _read_smi(self, child: subprocess.Popen[bytes], every: int) -> None:
        assert child.stdout is not None
        source = child.stdout.fileno()
        rest, last_words, batch = b"", "", {}  # type: bytes, str, dict[int, Json]
        patience = max(30.0, 10.0 * every)
        while not self._stopped.is_set():
            if not select.select([source], [], [], 0.2 if batch else patience)[0]:
                if not batch:
                    raise Problem(f"nvidia-smi said nothing for {patience:.0f} s")
                self._publish([batch[index] for index in sorted(batch)])
                batch = {}
                continue
            chunk = os.read(source, 65536)
            if not chunk:
                code = child.wait(timeout=5)
                if batch:
                    self._publish([batch[index] for index in sorted(batch)])
                raise Problem("nvidia-smi ended with code {}{}".format(code, last_words and ": " + last_words))
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, (raw.decode("utf-8", "replace").strip() for raw in lines)):
                try:
                    gpu = parse_smi_line(line)
                except ValueError as exc:
                    last_words = str(exc)
                    self._fail("nvidia-smi says: " + last_words)
                    continue
                if gpu["index"] in batch:
                    self._publish([batch[index] for index in sorted(batch)])
                    batch = {}
                batch[gpu["index"]] = gpu


def gpu_readings(sampler: GpuSampler, config: Json, speed: float) -> list[Reading]:
    """The two GPU signals from what the sampler holds."""
    if config["gpus"] == 0:
        return [Reading(name, "idle", detail="no GPU declared in config.json") for name in ("gpu", "gpu_mem")]
    gpus, at, problem = sampler.latest()
    expected = config["gpus"]
    if not problem and at is not None:
        if not gpus:
            problem = "the GPU tool lists no device"
        elif expected is not None and len(gpus) < expected:
            problem = f"only {len(gpus)} of {expected} devices answer"
    if problem:
        return [unknown(name, problem) for name in ("gpu", "gpu_mem")]
    if at is None:
        return [pending("gpu"), pending("gpu_mem")]
    limits = config["thresholds"]
    window = max(config["gpu_window_s"] / speed if speed > 0 else config["gpu_window_s"], 1.5 * sampler.period)
    peak = sampler.peak(window)
    silent = [gpu["index"] for gpu in gpus if gpu["util_pct"] is None]
    if (silent or peak is None) and (peak is None or peak <= limits["gpu_pct"]):
        load = unknown("gpu", "device {} reports no utilisation".format(", ".join(map(str, silent))))
    else:
        load = level("gpu", peak or 0.0, "%", limits["gpu_pct"])
        load.detail = "busiest of {} in the last {:.0f} s".format(len(gpus), config["gpu_window_s"])
    held = [gpu["memory_used_mib"] for gpu in gpus]
    if None in held and not any(mib and mib > limits["gpu_mem_mib"] for mib in held):
        memory = unknown("gpu_mem", "a device reports no memory")
    else:
        memory = level("gpu_mem", max(mib or 0 for mib in held), "MiB", limits["gpu_mem_mib"])
        memory.detail = "most on one device"
    for reading in (load, memory):
        reading.at, reading.period = at, sampler.period
    return [load, memory]


# ---- samplers: the threads that look ---------------------------------------------------------------------------------


class Sampler(threading.Thread):
    """Calls one reader again and again and keeps its last readings; a reader that hangs only ages its own."""

    def __init__(
        self, name: str, read: Callable[[], list[Reading]], period: Callable[[], float], done: Callable[[], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._read, self._period, self._done = read, period, done
        self._stopped = threading.Event()
        self.readings: dict[str, Reading] = {}
        self.rounds = 0

    def run(self) -> None:
        """Read, publish, tell, wait."""
        while not self._stopped.is_set():
            period = self._period()
            for reading in self._read():
                reading.period = period
                self.readings[reading.name] = reading
            self.rounds += 1
            self._done()
            self._stopped.wait(period)

    def stop(self) -> None:
        """Ask the thread to end after its present round."""
        self._stopped.set()


# ---- running other programs ------------------------------------------------------------------------------------------


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything it started, politely and then not."""
    for what, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, what)
        try:
            child.wait(timeout=patience)
            return
        except subprocess.TimeoutExpired:
            continue


def run_bounded(argv: list[str], timeout: float, extra: dict[str, str], text: str = "") -> str:
    """Run a program to its end; the answer is empty for success, else what went wrong with its last words."""
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env=dict(os.environ, **extra), cwd="/",
        )  # fmt: skip
    except OSError as exc:
        return f"{argv[0]}: {exc.strerror}"
    words = bytearray()
    talk = threading.Thread(target=_converse, args=(child, text, words), name="output", daemon=True)
    talk.start()
    try:
        code = child.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_group(child)
        return f"{argv[0]}: took longer than {timeout:.0f} s and was killed"
    talk.join(0.5)  # a background child may hold the pipe; its words are not waited for
    if code == 0:
        return ""
    said = bytes(words).decode("utf-8", "replace").strip().splitlines()[-1:]
    return "{}: exit code {}{}".format(argv[0], code, ": " + said[0][:200] if said else "")


def _converse(child: subprocess.Popen[bytes], text: str, words: bytearray) -> None:
    """Give a child its input and keep the last 4 kB of what it says."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(OSError):
        child.stdin.write(text.encode())
        child.stdin.close()
    with child.stdout:
        for chunk in iter(lambda: os.read(child.stdout.fileno(), 4096), b""):  # type: ignore[union-attr]
            words.extend(chunk)
            del words[:-4096]


# ---- asking other machines: one small client for the metadata service and for the clouds' APIs ------------------------


class Reply:
    """One answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def split_url(url: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, what goes into the Host header, and path."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "443" if scheme == "https" else "80"
    return scheme, host.strip("[]"), int(port), place, "/" + path


def ask_url(verb: str, url: str, headers: dict[str, str], body: bytes = b"", patience: float = 5.0) -> Reply:
    """One request on a connection of its own. OSError or ValueError say why there is no answer in time.

    Redirects are not followed and certificates are always checked. urllib would double the memory of this process.
    """
    until = boot_seconds() + patience
    scheme, host, port, place, path = split_url(url)
    lines = [f"{verb} {path} HTTP/1.1", f"Host: {place}", "Connection: close", f"User-Agent: gpudash-statusd/{VERSION}"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    if body or verb in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    link = socket.create_connection((host, port), timeout=patience)
    try:
        link.settimeout(max(0.05, until - boot_seconds()))
        if scheme == "https":
            link = secured(link, host)
        link.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return read_reply(link, until)
    finally:
        link.close()


def secured(link: socket.socket, host: str) -> socket.socket:
    """The same connection over TLS. Loaded only here: it costs 5 MB and is needed at the end of a host's life."""
    import ssl

    context = ssl.create_default_context()
    known = ssl.get_default_verify_paths()
    if not known.cafile and not known.capath:  # a Python that was built for another system
        for bundle in filter(os.path.exists, CA_BUNDLES):
            context.load_verify_locations(bundle)
    return context.wrap_socket(link, server_hostname=host)


def read_reply(link: socket.socket, until: float) -> Reply:
    """A whole answer; ValueError when it is none, or broke off."""
    received = bytearray()
    while not is_whole_reply(received):
        link.settimeout(max(0.001, until - boot_seconds()))
        chunk = link.recv(65536) if until > boot_seconds() else b""
        if not chunk:
            break
        received += chunk
        if len(received) > REPLY_LIMIT:
            raise ValueError("the answer is too long")
    if until <= boot_seconds() and not is_whole_reply(received):
        raise socket.timeout("timed out")
    head, blank, body = bytes(received).partition(b"\r\n\r\n")
    if not blank:
        raise ValueError("it hung up without an answer")
    status, headers = parse_reply_head(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = unchunked(body)
    elif len(body) < int(headers.get("content-length", 0)):
        raise ValueError("the answer broke off")
    return Reply(status, headers, body)


def is_whole_reply(received: bytearray) -> bool:
    """Whether nothing more has to come; an answer without a length ends when the server hangs up."""
    head, blank, body = bytes(received).partition(b"\r\n\r\n")
    if not blank:
        return False
    status, headers = parse_reply_head(head)
    if status == 204 or "content-length" in headers:
        return len(body) >= int(headers.get("content-length", 0))
    return headers.get("transfer-encoding", "").lower() == "chunked" and body.endswith(b"0\r\n\r\n")


def parse_reply_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer; ValueError when this is not HTTP."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ValueError("this is not an HTTP answer")
    pairs = (line.partition(":") for line in lines)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def unchunked(body: bytes) -> bytes:
    """A body that came in chunks; ValueError when the last one is missing."""
    parts = []
    while True:
        size, line_end, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16) if line_end else -1
        if length == 0:
            return b"".join(parts)
        if length < 0 or len(rest) < length + 2:
            raise ValueError("the answer broke off")
        parts.append(rest[:length])
        body = rest[length + 2 :]


def in_words(exc: Exception) -> str:
    """Why a machine did not answer."""
    if isinstance(exc, socket.timeout):
        return "no answer in time"
    return str(getattr(exc, "strerror", None) or exc or type(exc).__name__)


class Metadata:
    """EC2's instance metadata service, version 2: a token by PUT, then every GET with it. Nothing waits for it long.

    Paths and headers: AWS documentation, "Use the Instance Metadata Service to access instance metadata".
    """

    PATIENCE_S = 2.0
    TOKEN_S = 21600

    def __init__(self) -> None:
        self.url = LINK_LOCAL
        self._token, self._token_until = "", 0.0

    def get(self, path: str) -> str | None:
        """One document; None where there is none (404). Problem when the service does not do its part."""
        try:
            reply = self._get(path)
            if reply.status == 401:  # it was restarted, or our token is over
                self._token = ""
                reply = self._get(path)
        except (OSError, ValueError) as exc:
            raise Problem(f"the metadata service at {self._base()} does not answer: {in_words(exc)}") from None
        if reply.status not in (200, 404):
            raise Problem(f"the metadata service answers {reply.status} for {path}")
        return reply.text if reply.status == 200 else None

    def instance_id(self) -> str:
        """Which instance this is; Problem where that is not to be had."""
        return (self.get("/latest/meta-data/instance-id") or "").strip()

    def credentials(self) -> Json:
        """Those of the instance's role; Problem where it has none."""
        listed = (self.get(ROLE_PATH) or "").split()
        if not listed:
            raise Problem("this instance has no instance role")
        try:
            found: Json = json.loads(self.get(ROLE_PATH + listed[0]) or "{}")
            if not all(isinstance(found[name], str) for name in ("AccessKeyId", "SecretAccessKey", "Token")):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise Problem(f"the role {listed[0]} has no credentials here") from None
        return found

    def _base(self) -> str:
        return (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or self.url).rstrip("/")

    def _get(self, path: str) -> Reply:
        headers = {"X-aws-ec2-metadata-token": self._session()}
        return ask_url("GET", self._base() + path, headers, patience=self.PATIENCE_S)

    def _session(self) -> str:
        if not self._token or boot_seconds() > self._token_until:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(self.TOKEN_S)}
            try:
                reply = ask_url("PUT", self._base() + "/latest/api/token", wanted, patience=self.PATIENCE_S)
            except socket.timeout:
                raise ValueError("no token in time; inside a container its hop limit has to be 2") from None
            if reply.status != 200:
                raise ValueError(f"it gives no token ({reply.status})")
            self._token, self._token_until = reply.text.strip(), boot_seconds() + self.TOKEN_S / 2
        return self._token


# ---- the ways to end this host ---------------------------------------------------------------------------------------


def poweroff_commands() -> list[list[str]]:
    """What switches this machine off, in the order to try; as another user than root by way of sudo."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), SYSROOT + "/usr/sbin", SYSROOT + "/sbin"]
    found = []
    for name, *rest in (("systemctl", "poweroff"), ("shutdown", "-h", "now"), ("poweroff",)):
        program = find_program(name, folders)
        if program is not None:
            found.append([program, *rest])
    sudo = find_program("sudo", folders)
    if os.geteuid() == 0:
        return found
    return [[sudo, "-n", *command] for command in found] if sudo else []


def poweroff_problem() -> str:
    """Why a power-off would not work; empty when it should."""
    if in_container() and not os.path.isdir(SYSROOT + "/run/systemd/system"):
        return "a container cannot power its machine off"
    commands = poweroff_commands()
    if not commands:
        return "not root, and there is no sudo" if os.geteuid() else "there is no systemctl, shutdown or poweroff"
    if os.geteuid() != 0 and run_bounded([*commands[0][:2], "true"], 3.0, {}):
        return "not root, and sudo asks for a password"
    return ""


def power_off(environment: dict[str, str]) -> str:
    """Ask the system to power off; the answer is empty when it said yes."""
    problem = poweroff_problem()
    for command in [] if problem else poweroff_commands():
        problem = run_bounded(command, END_TIMEOUT_S, environment)
        if not problem:
            return ""
    return problem


def secret_of(step: Json, home: str) -> str:
    """The token of an http step, read now; Problem when it cannot be. Empty for a step that needs none."""
    if step["token_file"]:
        return read_token(os.path.join(home, os.path.expanduser(step["token_file"]))).decode("ascii", "replace")
    return init_variable(step["token_env"]) if step["token_env"] else ""


def init_variable(name: str) -> str:
    """A variable of our own environment, else of the container's first process: SSH sessions do not inherit those."""
    if os.environ.get(name):
        return os.environ[name]
    try:
        pairs = (pair.partition("=") for pair in read_text("/proc/1/environ").split("\0"))
    except OSError as exc:
        raise Problem(f"{name} cannot be read: /proc/1/environ: {exc.strerror}") from None
    value = next((value for found, _, value in pairs if found == name), "")
    if not value:
        raise Problem(f"{name} is not set in this container")
    return value


def http_problem(step: Json, home: str) -> str:
    """Why an http step would not work; empty when it should."""
    try:
        secret_of(step, home)
        for name, wanted in step["only_if_env"].items():
            if init_variable(name) != wanted:
                return f"this is another machine: {name} is not {wanted}"
    except Problem as exc:
        return str(exc)
    return stranger_problem(step, home) if step["self_url"] else ""


_itself: set[str] = set()
"""Records of the cloud that were seen to be about this machine; that holds as long as this process."""


def stranger_problem(step: Json, home: str) -> str:
    """Why the cloud's record may be about another machine; empty when it names an address of this one."""
    if step["self_url"] in _itself:
        return ""
    secret = secret_of(step, home)
    try:
        reply = ask_url("GET", step["self_url"], {"Authorization": "Bearer " + secret}, b"", API_PATIENCE_S)
        document = json.loads(reply.text) if reply.status == 200 else None
    except (OSError, ValueError) as exc:
        return f"whether this is that machine cannot be asked: {in_words(exc)}".replace(secret, "(token)")
    if document is None:
        return f"whether this is that machine cannot be asked: {split_url(step['self_url'])[3]} answers {reply.status}"
    # The first that the record has decides: a name that many machines have does not outweigh another address.
    said = next((found for field in step["self_fields"] if isinstance(found := field_of(document, field), str)), None)
    if said is None or said not in own_addresses():
        return f"this is another machine, or cannot be told from one: the cloud's record has {said or 'no address'}"[
            :300
        ]
    _itself.add(step["self_url"])
    return ""


def own_addresses() -> set[str]:
    """IPv4 addresses of this machine, and its name."""
    found = {socket.gethostname()}
    try:
        lines = read_text("/proc/net/fib_trie").split("\n")
    except OSError:
        lines = []
    found.update(
        before.split()[-1] for before, line in zip(lines, lines[1:]) if "/32 host LOCAL" in line and before.split()
    )
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses the address it would send from
        found.add(probe.getsockname()[0])
    except OSError:
        pass
    finally:
        probe.close()
    return found


def field_of(document: Any, dotted: str) -> Any:
    """What stands at ``data.ip`` in a document; None where nothing does."""
    for name in dotted.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def end_by_http(step: Json, home: str) -> str:
    """Ask an API to end this host; empty when it said yes in the way that counts there. The token is in no text."""
    problem = http_problem(step, home)
    if problem:
        return problem
    secret = secret_of(step, home)
    headers = {"Authorization": "Bearer " + secret} if secret else {}
    body = b"" if step["body"] is None else json.dumps(step["body"]).encode()
    if body:
        headers["Content-Type"] = "application/json"
    headers.update((name, value.replace("{token}", secret)) for name, value in step["headers"].items())
    place = split_url(step["url"])[3]
    try:
        reply = ask_url(step["verb"], step["url"], headers, body, API_PATIENCE_S)
    except (OSError, ValueError) as exc:
        return f"{place}: {in_words(exc)}"
    problem = refusal_of(reply, step)
    words = f"{place} answers {reply.status}{problem}"
    return (words.replace(secret, "(token)") if secret else words) if problem else ""


def refusal_of(reply: Reply, step: Json) -> str:
    """Why this answer is no yes, as the tail of a sentence; empty when it is one."""
    said = " ".join(reply.text.split())[:200]
    if reply.status not in step["ok_status"]:
        return ": " + said if said else " without a word"
    if not step["ok_json"]:
        return ""
    try:
        document = json.loads(reply.text)
    except ValueError:
        return " without JSON: " + said
    for field, wanted in step["ok_json"].items():
        found = field_of(document, field)
        if found != wanted:
            return f" and {field} is {json.dumps(found)[:200]}, not {json.dumps(wanted)}"
    return ""


EC2_CALLS = {"stop": "StopInstances", "hibernate": "StopInstances", "terminate": "TerminateInstances"}


def end_by_ec2(metadata: Metadata, config: Json, step: Json, rung: str, at: float) -> str:
    """Stop or terminate this very instance by EC2's API with the instance role; empty when it said yes."""
    try:
        own, wanted = metadata.instance_id(), config["instance"]["id"]
        if own != wanted:
            return f"this is {own or 'no EC2 instance'}, the configuration is for {wanted}; nothing was ended"
        credentials = metadata.credentials()
        region = step["region"] or config["instance"]["region"]
        domain = (metadata.get("/latest/meta-data/services/domain") or "amazonaws.com").strip()
    except Problem as exc:
        return str(exc)
    form = [("Action", EC2_CALLS[rung]), ("InstanceId.1", own), ("Version", "2016-11-15")]
    if rung == "hibernate":
        form.insert(1, ("Hibernate", "true"))
    body = "&".join(f"{name}={value}" for name, value in form).encode()
    url = step["endpoint"] or f"https://ec2.{region}.{domain}/"
    try:
        reply = ask_url("POST", url, signed(url, body, credentials, region, "ec2", at), body, API_PATIENCE_S)
    except (OSError, ValueError) as exc:
        return f"EC2 in {region}: {in_words(exc)}"
    if reply.status == 200:
        return ""
    code, text = (between(reply.text, f"<{tag}>", f"</{tag}>") for tag in ("Code", "Message"))
    return f"{EC2_CALLS[rung]}: {code or reply.status}: {text or reply.text[:200]}"


def between(text: str, start: str, end: str) -> str:
    """What stands between two marks, else nothing."""
    return text.partition(start)[2].partition(end)[0]


def signed(url: str, body: bytes, credentials: Json, region: str, service: str, at: float) -> dict[str, str]:
    """The headers of a POST signed by AWS Signature Version 4 (AWS documentation, "Create a signed AWS API request")."""
    import hashlib
    import hmac

    def keyed(key: bytes, text: str) -> bytes:
        return hmac.new(key, text.encode(), hashlib.sha256).digest()

    stamp = datetime.fromtimestamp(int(at), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8", "host": split_url(url)[3],
        "x-amz-date": stamp, "x-amz-security-token": credentials["Token"],
    }  # fmt: skip
    names = ";".join(headers)
    lines = ["POST", split_url(url)[4], "", *(f"{name}:{value}" for name, value in headers.items()), "", names]
    canonical = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = keyed(key, part)
    proof = (
        f"Credential={credentials['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={keyed(key, text).hex()}"
    )
    del headers["host"]  # the client writes it
    return dict(headers, Authorization="AWS4-HMAC-SHA256 " + proof)


class Ways:
    """Carries out a step of `end`, and finds out beforehand which steps could work."""

    def __init__(self, home: str, metadata: Metadata) -> None:
        self._home, self._metadata = home, metadata

    def problem(self, step: Json, config: Json) -> str:
        """Why this step would not work now; empty when it should. May ask sudo or the metadata service."""
        method = step["method"]
        if method == "command":
            return "" if find_program(step["argv"][0]) else f"{step['argv'][0]} is not there"
        if method == "poweroff":
            return poweroff_problem()
        if method == "http":
            return http_problem(step, self._home)
        try:
            own, wanted = self._metadata.instance_id(), config["instance"]["id"]
            if own != wanted:
                return f"this is {own or 'no EC2 instance'}, the configuration is for {wanted}"
            self._metadata.credentials()
        except Problem as exc:
            return str(exc)
        return ""

    def look(self, config: Json) -> Json:
        """For every action its steps as `{"method", "problem"}`; every step is asked once."""
        known: dict[str, str] = {}
        report: Json = {}
        for rung in RUNGS:
            report[rung] = []
            for step in config["end"][rung]:
                text = json.dumps(step)
                if text not in known:
                    known[text] = self.problem(step, config)
                report[rung].append({"method": step["method"], "problem": known[text] or None})
        return report

    def take(self, rung: str, step: Json, config: Json, environment: dict[str, str], at: float) -> str:
        """One attempt; empty when the other side said yes, else why not."""
        method = step["method"]
        if method == "command":
            return run_bounded(step["argv"], END_TIMEOUT_S, environment)
        if method == "poweroff":
            return power_off(environment)
        if method == "http":
            return end_by_http(step, self._home)
        return end_by_ec2(self._metadata, config, step, rung, at)


# ---- core: what is known, what is decided ----------------------------------------------------------------------------

WHAT_ENDS = {
    "lease": "its lease ends", "hard": "its hard deadline is reached", "idle": "it is idle",
    "parked": "its GPU memory is held without any work", "request": "it was asked to",
}  # fmt: skip
PAST_TENSE = {"stop": "stopped", "hibernate": "hibernated", "terminate": "terminated"}
# What an end command, a hook or a retry does to the machine itself is no sign of a user.
QUIET_WHILE_ENDING = ("cpu", "net", "disk", "files")


def ladder(action: str, reason: str, end: Json, failing_s: float = 0.0) -> list[tuple[str, Json]]:
    """The steps to try, in order, each with the end it brings. A way that stands there twice is tried once.

    Only a deadline, and only in the end, climbs to what destroys a disk.
    """
    wanted = [action, "stop", "poweroff"]
    if reason in ("lease", "hard") and failing_s >= DESTROY_AFTER_S:
        wanted.append("terminate")
    steps: dict[str, tuple[str, Json]] = {}
    for rung in dict.fromkeys(wanted):
        for step in end[rung]:
            steps.setdefault(json.dumps([rung if step["method"] == "ec2" else "", step]), (rung, step))
    return list(steps.values())


def step_for(attempt: int, steps: list[tuple[str, Json]]) -> tuple[str, Json]:
    """Which step attempt number N (from 0) takes: each rung a few times over, then all steps in turn for ever."""
    climb = []
    for rung in dict.fromkeys(rung for rung, _ in steps):
        climb.extend(RUNG_TRIES * [pair for pair in steps if pair[0] == rung])
    return climb[attempt] if attempt < len(climb) else steps[attempt % len(steps)]


class Journal:
    """What happened and what is wrong: recent events, alarms, and how far the disk has followed."""

    def __init__(self, lock: threading.RLock, now: Callable[[], float], state: Json) -> None:
        self._lock, self._now = lock, now
        self.change = 1  # grows with everything worth saving; the scribe compares
        self.saved_change = self.failed_change = 0
        self.noted = 0  # how many events this process has put down; the log follows it
        self.view = 0  # grows with everything worth showing; /status is made anew when it has
        self.poke_scribe: Callable[[], None] = lambda: None
        self._saved = threading.Condition(lock)
        self.events: collections.deque[Json] = collections.deque(state.get("events", []), maxlen=EVENTS_KEPT)
        self.lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self.alarms: dict[str, Json] = {}
        for alarm in state.get("alarms", []):
            if alarm["sticky"] and now() - alarm["since"] < 86400:
                self.alarms[alarm["code"]] = dict(alarm)

    def touch(self) -> None:
        """Something changed that belongs on the disk and into /status."""
        with self._lock:
            self.change += 1
            self.view += 1
        self.poke_scribe()

    def note(self, kind: str, text: str) -> None:
        """Put one line into the recent events."""
        with self._lock:
            event = {"at": utc(self._now()), "kind": kind, "text": text}
            self.events.append(event)
            self.lines.append("{at} {kind:16s} {text}".format(**event))
            self.noted += 1
        self.touch()

    def alarm(self, code: str, text: str, is_on: bool = True, sticky: bool = False, kind: str = "alarm") -> None:
        """Raise, update or clear the alarm of that code; a sticky one stays for a day, over restarts too."""
        with self._lock:
            present = self.alarms.get(code)
            if not is_on:
                if present is not None:
                    del self.alarms[code]
                    self.note("alarm-cleared", present["text"])
            elif present is None:
                self.alarms[code] = {"code": code, "text": text, "since": self._now(), "sticky": sticky}
                self.note(kind, text)
            elif present["text"] != text:
                present["text"] = text
                self.view += 1

    def report_saved(self, change: int, is_saved: bool) -> None:
        """The scribe tells what became of everything up to that change."""
        with self._lock:
            if is_saved:
                self.saved_change = max(self.saved_change, change)
            else:
                self.failed_change = max(self.failed_change, change)
            self._saved.notify_all()

    def wait_saved(self, timeout: float) -> bool:
        """Wait until the last change is on the disk; False when the disk does not take it in time."""
        with self._lock:
            wanted = self.change
            self._saved.wait_for(lambda: max(self.saved_change, self.failed_change) >= wanted, timeout)
            return self.saved_change >= wanted


class Lease:
    """The policy in force: which configuration it comes from, who may move its deadlines, and how far."""

    def __init__(self, journal: Journal, state: Json) -> None:
        self._journal = journal
        self._held: Json | None = state.get("policy")
        self._keys: dict[str, Json] = dict(state.get("extend_keys", {}))
        self._grace: Json | None = state.get("grace")
        self._tags_seen: Json | None = state.get("tags_seen")

    def saved(self) -> Json:
        """What the state file keeps."""
        return {
            "policy": self._held, "extend_keys": self._keys, "grace": self._grace, "tags_seen": self._tags_seen,
        }  # fmt: skip

    @property
    def policy(self) -> Json:
        """The terms in force, deadlines as epoch seconds."""
        assert self._held is not None
        return self._held

    def grant_grace(self, now: float) -> None:
        """After a boot, a lease that ran out while the host was off leaves a few minutes to extend it, only once."""
        lease = (self._held or {}).get("lease_deadline")
        if lease is not None and lease <= now and (self._grace or {}).get("deadline") != lease:
            self._grace = {"deadline": lease, "until": now + BOOT_GRACE_S}
            text = f"the lease ran out while the host was off; {spoken(BOOT_GRACE_S)} are left to extend it"
            self._journal.note("start", text)

    def end(self) -> float | None:
        """When the lease is enforced: its deadline, or the minutes granted after a boot, never past the hard one."""
        lease: float | None = self.policy["lease_deadline"]
        hard: float | None = self.policy["hard_deadline"]
        if lease is not None and self._grace is not None and self._grace["deadline"] == lease:
            lease = max(lease, float(self._grace["until"]))
        return lease if lease is None or hard is None else min(lease, hard)

    def adopt(self, given: Json) -> None:
        """Take the policy of a configuration. Deadlines count only with a higher revision; the hard one never moves."""
        asked = as_terms(given, CONFIG)
        held, revision = self._held, asked["revision"]
        is_older = held is not None and revision < held["revision"]
        text = f"config.json has revision {revision}, older than the policy in force; it is ignored"
        # Tags run ahead of the file whenever somebody extends from afar; that is as it should be.
        self._journal.alarm("config-old", text, is_on=is_older and held is not None and held.get("source") != TAGS)
        if held is None:
            self._held = self._clamp(asked)
        elif revision == held["revision"]:
            self._held = self._take_settings(asked, held)
        elif not is_older:
            self._held = self._take_deadlines(asked, held)

    def adopt_tags(self, given: Json) -> bool:
        """Take the limits that the instance's tags carry; whether anything changed.

        A higher revision is a new decision, as in the configuration. At the same revision only an edit of the tags
        counts, and only what is stricter in it: an earlier deadline, a shorter time-out. A lower revision is old news.
        """
        asked, held = as_terms(given, TAGS), self.policy
        is_edited = self._tags_seen is not None and given != self._tags_seen
        is_news = given != self._tags_seen
        self._tags_seen = given
        if asked["revision"] > held["revision"]:
            self._held = self._take_deadlines(asked, held)
        elif asked["revision"] == held["revision"] and is_edited:
            self._take_stricter(asked)
        return is_news

    def _take_stricter(self, asked: Json) -> None:
        held = self.policy
        names = ("lease_deadline", "hard_deadline", "idle_timeout_s", "parked_timeout_s")
        wanted = {name: asked[name] for name in names if asked[name] is not None}
        stricter = {name: value for name, value in wanted.items() if held[name] is None or value < held[name] - 1}
        if "idle_timeout_s" in stricter:
            stricter["idle_action"] = asked["idle_action"]
        is_laxer = any(held[name] is not None and value > held[name] + 1 for name, value in wanted.items())
        text = "the tags ask for more time but not with a higher gpudash:revision; what is in force stays"
        self._journal.alarm("tags-revision", text, is_on=is_laxer)
        if stricter:
            self._held = self._clamp(dict(held, **stricter, source=TAGS))
            shown = ", ".join(f"{name} {utc(v) if 'deadline' in name else v}" for name, v in stricter.items())
            self._journal.note("tags", f"stricter limits of the tags were taken: {shown}")

    def _take_settings(self, asked: Json, held: Json) -> Json:
        """The same revision again: everything but the deadlines, which may have been extended since."""
        known = (("asked_lease", "lease_deadline"), ("asked_hard", "hard_deadline"))
        is_edited = any(asked[name] not in (held.get(name), held[in_force]) for name, in_force in known)
        text = "config.json has another deadline but not a higher policy.revision; the deadline in force stays"
        self._journal.alarm("config-revision", text, is_on=is_edited)
        kept = ("lease_deadline", "hard_deadline", "asked_lease", "asked_hard")
        return dict(asked, **{name: held.get(name) for name in kept})

    def _take_deadlines(self, asked: Json, held: Json) -> Json:
        """A higher revision is a new decision, except that it cannot move the hard deadline later."""
        self._journal.alarm("config-revision", "", is_on=False)
        hard, wanted = held["hard_deadline"], asked["hard_deadline"]
        is_later = hard is not None and (wanted is None or wanted > hard)
        source = asked["source"]
        text = f"{source} asks for a hard deadline of {utc(wanted)}; it never moves later and stays {utc(hard)}"
        self._journal.alarm("hard-deadline", text, is_on=is_later)
        until = utc(asked["lease_deadline"]) or "no end"
        text = f"policy revision {asked['revision']} of {source} was taken: lease until {until}"
        self._journal.note("config" if source == CONFIG else "tags", text)
        return self._clamp(dict(asked, hard_deadline=hard if is_later else wanted))

    def _clamp(self, policy: Json) -> Json:
        lease, hard = policy["lease_deadline"], policy["hard_deadline"]
        is_beyond = lease is not None and hard is not None and lease > hard
        text = f"{policy['source']} asks for a lease beyond the hard deadline; it ends at {utc(hard)}"
        self._journal.alarm("lease-clamped", text, is_on=is_beyond)
        return dict(policy, lease_deadline=hard if is_beyond else lease)

    def extend(self, body: Json, now: float) -> bool:
        """Move the lease deadline as a request asks; False when it was there already. Refusal when it may not."""
        wanted, key = wanted_deadline(body)
        asked = {name: body.get(name) for name in ("deadline", "seconds")}
        earlier = self._keys.get(key) if key else None
        if earlier is not None:
            if earlier["asked"] != asked:
                raise Refusal(409, "this key was used for another extension", field="key")
            return False
        base = max(now, self.end() or now)
        target = base + body["seconds"] if wanted is None else wanted
        self._refuse(target, base, now, may_shorten=body.get("allow_shorten", False))
        lease = self.policy["lease_deadline"]
        self.policy["lease_deadline"] = target
        if key:
            self._keys[key] = {"asked": asked, "deadline": target}
            for old in list(self._keys)[:-EXTEND_KEYS_KEPT]:
                del self._keys[old]
        if lease is not None and abs(target - lease) < 1:
            self._journal.touch()
            return False
        self._journal.note("extend", f"the lease was moved from {utc(lease) or 'no end'} to {utc(target)}")
        return True

    def _refuse(self, target: float, base: float, now: float, may_shorten: bool) -> None:
        lease, hard = self.policy["lease_deadline"], self.policy["hard_deadline"]
        if hard is not None and target > hard:
            text = f"the hard deadline {utc(hard)} cannot be passed"
            raise Refusal(409, text, hard_deadline=utc(hard), max_seconds=whole(hard - base))
        if target <= now:
            raise Refusal(400, "deadline is already past; POST /shutdown ends a host at once", field="deadline")
        if lease is not None and target < lease - 1 and not may_shorten:
            text = f'this would shorten the lease, which now ends {utc(lease)}; say "allow_shorten": true to do so'
            raise Refusal(409, text, field="deadline", lease_deadline=utc(lease))

    def report(self) -> Json:
        """The `policy` of /status."""
        policy = self.policy
        return {
            "lease_deadline": utc(policy["lease_deadline"]), "hard_deadline": utc(policy["hard_deadline"]),
            "idle_timeout_s": whole(policy["idle_timeout_s"]), "idle_action": policy["idle_action"],
            "lease_action": policy["lease_action"], "parked_timeout_s": whole(policy["parked_timeout_s"]),
            "revision": policy["revision"],
        }  # fmt: skip


CONFIG, TAGS = "config.json", "the instance's tags"


def as_terms(given: Json, source: str) -> Json:
    """The policy of a configuration or of tags as the lease keeps it: deadlines as epoch seconds, and who said so."""
    terms = dict(given, source=source)
    for name in ("lease_deadline", "hard_deadline"):
        terms[name] = None if given[name] is None else parse_time(given[name])
    return dict(terms, asked_lease=terms["lease_deadline"], asked_hard=terms["hard_deadline"])


def wanted_deadline(body: Json) -> tuple[float | None, str | None]:
    """The absolute deadline (None for `seconds`) and the key of an extend request; Refusal names what is wrong."""
    key = body.get("key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= 200):
        raise Refusal(400, "key must be a text of 1 to 200 characters", field="key")
    if ("deadline" in body) == ("seconds" in body):
        raise Refusal(400, 'give either "deadline" or "seconds" with "key"', field="deadline")
    if not isinstance(body.get("allow_shorten", False), bool):
        raise Refusal(400, "allow_shorten must be true or false", field="allow_shorten")
    if "seconds" in body:
        if not is_number(body["seconds"]) or body["seconds"] <= 0:
            raise Refusal(400, "seconds must be a number above 0, for example 7200", field="seconds")
        if key is None:
            raise Refusal(400, "seconds needs a key, so that a repeated request extends only once", field="key")
        return None, key
    try:
        return parse_time(body["deadline"]), key
    except ValueError:
        text = "deadline must be an absolute time with its zone, for example 2026-01-02T03:04:05Z"
        raise Refusal(400, text, field="deadline") from None


class Activity:
    """What uses this host: owns the samplers and turns their signals into the idle and parked clocks.

    Idle means that every signal that counts has said so; one that is unknown holds the host like an active one.
    Parked means that GPU memory is held and nothing else is active: the idle clock rests, a clock of its own runs.
    """

    def __init__(self, home: str, journal: Journal, clock: Clock, config: Json) -> None:
        self.config = config
        self._journal, self._clock = journal, clock
        self._born = boot_seconds()
        self.wake: Callable[[], None] = lambda: None
        self.sensors, self._walk = HostSensors(home), FileWalk()
        self.gpu = GpuSampler(self._period, lambda: self.config["gpus"] != 0)
        self._host = Sampler("host", lambda: self.sensors.read(self.config), self._period, lambda: self.wake())
        self._files = Sampler("files", self._read_files, self._files_period, lambda: None)
        self._rounds_seen, self._looked_at = 0, 0.0
        self.idle_since = clock.now()
        self.parked_since: float | None = None
        self.observed_at: float | None = None
        self.held_by: list[str] = []
        self.unknown: list[str] = []
        self.awake_because: str | None = None
        self._shown: list[tuple[Reading, bool]] = []
        self._last_active: dict[str, float] = {}
        self._declared_at: float | None = None
        self._hold_until: float | None = None
        self._is_declared_new = False

    def restore(self, state: Json, is_same_run: bool) -> None:
        """Go on from the state file. The clocks go on only within one run of the host: being off is not being idle."""
        now = self._clock.now()
        self._last_active = dict(state.get("last_active", {}))
        declared, idle = state.get("declared") or {}, state.get("idle") or {}
        self._declared_at, self._hold_until = declared.get("at"), declared.get("hold_until")
        if is_same_run and not idle.get("is_held", True):
            self.idle_since = min(now, float(idle["since"]))
            if idle.get("parked_since") is not None:
                self.parked_since = min(now, float(idle["parked_since"]))

    def saved(self) -> Json:
        """What the state file keeps."""
        is_held = bool((self.held_by and self.parked_since is None) or self.unknown)
        return {
            "idle": {"since": self.idle_since, "parked_since": self.parked_since, "is_held": is_held},
            "declared": {"at": self._declared_at, "hold_until": self._hold_until}, "last_active": self._last_active,
        }  # fmt: skip

    # -- the threads that look --

    def start(self) -> None:
        """Begin to look."""
        for sampler in (self._host, self._files, self.gpu):
            sampler.start()

    def stop(self) -> None:
        """Look no more, and end the tools that were started for it."""
        for sampler in (self._host, self._files, self.gpu):
            sampler.stop()

    @property
    def rounds(self) -> int:
        """How many samples of the host were taken; a caller that waits for a fresh one compares."""
        return self._host.rounds

    def _period(self) -> float:
        return float(self.config["sample_interval_s"])

    def _files_period(self) -> float:
        if self._files.rounds < 1:  # a second look soon, so that there is a difference to tell
            return self._period()
        return max(self._period(), min(30.0, 30.0 / max(1.0, self._clock.speed)))

    def _read_files(self) -> list[Reading]:
        try:
            return [self._walk.read(self.config)]
        except OSError as exc:
            return [unknown("files", f"{exc.filename}: {exc.strerror}")]

    # -- from readings to clocks; called with the lock held --

    def is_due(self) -> bool:
        """Whether there is a new sample, or none has come for so long that the old ones have to be judged again."""
        return self.rounds != self._rounds_seen or boot_seconds() - self._looked_at > 1.5 * self._period()

    def observe(self, now: float, is_ending: bool, parked_timeout_s: float | None) -> None:
        """Take the present readings into account."""
        readings = self._collect(now)
        self._rounds_seen, self._looked_at = self.rounds, boot_seconds()
        quiet = QUIET_WHILE_ENDING if is_ending else ()
        counting = [r for r in readings if r.name not in self.config["ignore_signals"] and r.name not in quiet]
        lost = [reading for reading in counting if reading.verdict == "unknown" and not reading.pending]
        active = [reading.name for reading in counting if reading.verdict == "active"]
        self._last_active.update((reading.name, now) for reading in readings if reading.verdict == "active")
        self._hold(active, [reading.name for reading in lost])
        if not any(reading.pending for reading in counting):
            self._move_clocks(now)
        self.awake_because = why_awake(counting)
        self._shown = [(reading, reading in counting) for reading in readings]
        self._raise_alarms(lost, parked_timeout_s)
        self._journal.view += 1

    def _collect(self, now: float) -> list[Reading]:
        """Every signal in order, with what is too old turned into unknown."""
        found = {reading.name: reading for reading in gpu_readings(self.gpu, self.config, self._clock.speed)}
        found.update(self._host.readings)
        found.update(self._files.readings)
        readings = []
        for name in SIGNALS:
            reading = found.get(name) or pending(name)
            if name == "declared" and not reading.pending:
                reading = self._declared(reading, now)
            period = self.gpu.period if name.startswith("gpu") else reading.period
            age = boot_seconds() - (self._born if reading.pending else reading.at)
            if age > max(3 * period, 2.0):
                reading = unknown(name, f"no sample for {spoken(age)}")
                reading.at = boot_seconds() - age
            readings.append(reading)
        return readings

    def _declared(self, reading: Reading, now: float) -> Reading:
        """The declared signal: a POST, a hold that still runs, or the touched file."""
        if reading.verdict == "active" and self.rounds != self._rounds_seen:
            self._declared_at = now
        is_held = self._hold_until is not None and self._hold_until > now
        is_new = self._is_declared_new or reading.verdict == "active"
        detail = "never declared" if self._declared_at is None else "last declared activity"
        merged = Reading(
            "declared", "active" if is_held or is_new else "idle", unit="s", detail=reading.detail or detail,
            value=None if self._declared_at is None else whole(now - self._declared_at), text="declared activity",
        )  # fmt: skip
        if is_held:
            merged.detail = merged.text = f"declared until {utc(self._hold_until)}"
        merged.at, merged.period = reading.at, reading.period
        return merged

    def _hold(self, active: list[str], lost: list[str]) -> None:
        if (active, lost) != (self.held_by, self.unknown):
            self.held_by, self.unknown = active, lost
            self._journal.touch()

    def _move_clocks(self, now: float) -> None:
        """Not called while a sensor waits for its first difference: then nothing moves and nothing ends."""
        was_parked = self.parked_since
        is_busy = bool(self.unknown) or any(name != "gpu_mem" for name in self.held_by)
        is_parked = not is_busy and bool(self.held_by)
        self.idle_since = now if is_busy or is_parked else min(self.idle_since, now)
        self.parked_since = min(now, now if was_parked is None else was_parked) if is_parked else None
        if (was_parked is None) != (self.parked_since is None):
            self._journal.touch()
        self._is_declared_new = False
        self.observed_at = now

    def _raise_alarms(self, lost: list[Reading], parked_timeout_s: float | None) -> None:
        why = {reading.name: reading.detail for reading in lost}
        for name in SIGNALS:
            text = f"the {name} sensor is broken and holds the host awake: {why.get(name)}"
            self._journal.alarm("sensor-" + name, text, is_on=name in why)
        text = "GPU memory is held without work and parked_timeout_s is not set: this keeps the host awake"
        self._journal.alarm("parked", text, is_on=self.parked_since is not None and parked_timeout_s is None)

    # -- declared by a request --

    def declare(self, now: float, hold: float, limit: float) -> bool:
        """Activity now, held until `now + hold` but not past the limit; whether the limit cut it short."""
        self._declared_at, self._is_declared_new = now, True
        self._last_active["declared"] = now
        self.idle_since, self.parked_since = now, None
        if hold:
            self._hold_until = max(self._hold_until or 0, min(now + hold, max(now, limit)))
            self._journal.note("activity", f"declared active until {utc(self._hold_until)}")
        self._journal.touch()
        return bool(hold) and now + hold > limit

    # -- reporting --

    def report_declared(self) -> Json:
        """The answer to a declaration."""
        return {"declared_at": utc(self._declared_at), "held_until": utc(self._hold_until)}

    def report_idle(self, policy: Json, now: float) -> Json:
        """The `idle` of /status: 0 while something is active, unknown while a sensor is."""
        timeout, is_held = policy["idle_timeout_s"], bool(self.held_by or self.unknown)
        idle: float | None = now - self.idle_since
        if is_held:
            idle = 0 if self.held_by else None
        left = None if idle is None or timeout is None else timeout - idle
        return {
            "idle_s": whole(idle), "timeout_s": whole(timeout), "remaining_s": whole(left),
            "since": None if is_held else utc(self.idle_since), "action": policy["idle_action"],
            "held_by": self.held_by, "unknown": self.unknown,
        }  # fmt: skip

    def report_parked(self, policy: Json, now: float) -> Json:
        """The `parked` of /status."""
        timeout = policy["parked_timeout_s"]
        parked = None if self.parked_since is None else now - self.parked_since
        left = None if parked is None or timeout is None else timeout - parked
        return {"parked_s": whole(parked), "timeout_s": whole(timeout), "remaining_s": whole(left)}

    def readings(self) -> list[Reading]:
        """Every signal as last judged."""
        return [reading for reading, _ in self._shown]

    def report_signals(self) -> list[Json]:
        """The `signals` of /status."""
        boot = boot_seconds()
        return [
            {
                "name": reading.name, "verdict": reading.verdict, "value": reading.value, "unit": reading.unit,
                "threshold": reading.threshold, "age_s": whole(boot - reading.at), "detail": reading.detail,
                "last_active_at": utc(self._last_active.get(reading.name)), "counts": is_counting,
            }
            for reading, is_counting in self._shown
        ]  # fmt: skip


def why_awake(counting: list[Reading]) -> str | None:
    """The first reason in the order of the signals: something active, else something unknown."""
    for reading in counting:
        if reading.verdict == "active":
            return reading.text or reading.name
    for reading in counting:
        if reading.verdict == "unknown":
            return f"{reading.name} unknown: {reading.detail}"
    return None


VERDICT_STRENGTH = ("idle", "unknown", "active")


class History:
    """Every signal once a minute for the last hours, packed: 360 rows are 30 kB of memory and 20 kB of disk.

    A minute holds the strongest verdict seen in it (active, then unknown, then idle) and the highest value. Minutes in
    which nothing looked are missing, not zero.
    """

    ROW = struct.Struct("<I{0}f{0}s".format(len(SIGNALS)))
    HEAD = (" ".join(SIGNALS) + "\n").encode()

    def __init__(self) -> None:
        self._rows: collections.deque[bytes] = collections.deque(maxlen=MINUTES_KEPT)
        self._fresh: list[bytes] = []
        self._minute = -1
        self._values: list[float | None] = []
        self._verdicts: list[str] = []
        self._units: dict[str, str] = {}

    def add(self, now: float, readings: list[Reading]) -> None:
        """Take one observation; called with the lock held."""
        minute = int(now // 60)
        if minute != self._minute:
            self._close_minute()
            self._minute = minute
            self._values = [None] * len(SIGNALS)
            self._verdicts = ["idle" if reading.pending else reading.verdict for reading in readings]
        for place, reading in enumerate(readings):
            if reading.pending:
                continue
            self._verdicts[place] = max(self._verdicts[place], reading.verdict, key=VERDICT_STRENGTH.index)
            if reading.value is not None:
                self._values[place] = max(reading.value, self._values[place] or 0.0)
            self._units[reading.name] = reading.unit

    def _close_minute(self) -> None:
        if self._minute >= 0:
            row = self._packed()
            self._rows.append(row)
            self._fresh = [*self._fresh, row][-MINUTES_KEPT:]

    def _packed(self) -> bytes:
        values = [float("nan") if value is None else value for value in self._values]
        return self.ROW.pack(self._minute, *values, "".join(word[0] for word in self._verdicts).encode())

    def report(self) -> Json:
        """The answer of /history: one list a signal, side by side with the minutes."""
        rows = [self.ROW.unpack(row) for row in self._rows]
        if self._minute >= 0:
            rows.append(self.ROW.unpack(self._packed()))
        signals = {}
        for place, name in enumerate(SIGNALS):
            values = [row[1 + place] for row in rows]
            signals[name] = {
                "unit": self._units.get(name, ""),
                "values": [None if value != value else round(value, 1) for value in values],
                "verdicts": "".join(chr(row[-1][place]) for row in rows),
            }
        return {"step_s": 60, "minutes": [utc(60 * row[0]) for row in rows], "signals": signals}

    def load(self, path: str, now: float) -> None:
        """Go on from the file of an earlier run; one that is broken, or of other signals, is left alone."""
        try:
            with open(path, "rb") as file:
                head, body = file.readline(), file.read()
        except OSError:
            return
        if head != self.HEAD:
            return
        newest = int(now // 60)
        for start in range(0, len(body) - self.ROW.size + 1, self.ROW.size):
            row = body[start : start + self.ROW.size]
            if newest - MINUTES_KEPT <= self.ROW.unpack(row)[0] < newest:
                self._rows.append(row)

    def take_unsaved(self, is_rewrite: bool) -> bytes:
        """What has to be added to the file, or the whole of it; called with the lock held."""
        fresh, self._fresh = self._fresh, []
        return self.HEAD + b"".join(self._rows) if is_rewrite else b"".join(fresh)


class Warner:
    """Says 15, 5 and 1 minutes before the end that it comes, and that it does not when it was put off."""

    def __init__(self, home: str, journal: Journal, saved: Json | None) -> None:
        self._home, self._journal = home, journal
        self._warned: Json = saved or self._nothing()
        self.text: str | None = self._warned["said"][-1]["text"] if self._warned["said"] else None

    @staticmethod
    def _nothing() -> Json:
        return {"why": None, "at": None, "minutes": [], "said": []}

    @property
    def said(self) -> list[Json]:
        """The warnings that still hold."""
        return list(self._warned["said"])

    def saved(self) -> Json:
        """What the state file keeps, so that a restarted daemon does not say it twice."""
        return self._warned

    def look(self, now: float, end: tuple[float, str] | None, policy: Json, config: Json) -> None:
        """Compare the soonest end with what was said, and say what is due."""
        if end is None:
            self.call_off("The end of this host was put off.", config)
            return
        at, why = end
        span = policy.get({"idle": "idle_timeout_s", "parked": "parked_timeout_s"}.get(why, "")) or 1e12
        passed = [minutes for minutes in WARN_MINUTES if 60 * minutes < span and at - now <= 60 * minutes]
        warned = self._warned
        if why != warned["why"] or abs(at - warned["at"]) >= 1:
            if not passed:
                self.call_off(f"The end of this host was put off until {utc(at)}.", config)
            said = [entry for entry in warned["said"] if entry["minutes"] in passed]
            kept = [minutes for minutes in warned["minutes"] if minutes in passed]
            warned = self._warned = {"why": why, "at": at, "minutes": kept, "said": said}
        fresh = [minutes for minutes in passed if minutes not in warned["minutes"]]
        if fresh:
            text = self._words(at, why, now, policy, config["instance"])
            warned["minutes"] = passed
            warned["said"] = [*warned["said"], {"at": utc(now), "minutes": min(fresh), "text": text}]
            self.text = text
            self._journal.note("warning", text)
            say_on_terminals(text, config)

    def call_off(self, text: str, config: Json) -> None:
        """Forget every warning; say so where one was said."""
        if self._warned["minutes"]:
            self._journal.note("warning-cancelled", text)
            say_on_terminals(text, config)
        self._warned, self.text = self._nothing(), None

    def _words(self, at: float, why: str, now: float, policy: Json, instance: Json) -> str:
        action = policy["lease_action" if why in ("lease", "hard") else "idle_action"]
        keep = f"To keep it: use it, or touch {os.path.join(self._home, 'activity')}"
        if why == "lease":
            keep = f"To keep it: gpudash extend {instance['name'] or instance['id']} 1h"
        elif why == "hard":
            keep = "Nothing can move this deadline; save your work"
        left = spoken(max(1.0, at - now))
        return f"This host will be {PAST_TENSE[action]} in {left}, at {utc(at)}, because {WHAT_ENDS[why]}. {keep}."


def say_on_terminals(text: str, config: Json) -> None:
    """Tell who is logged in, where there is a `wall`."""
    program = find_program("wall") if config["wall"] else None
    if program is not None:
        threading.Thread(target=run_bounded, args=([program], 5.0, {}, text + "\n"), name="wall", daemon=True).start()


class Core:
    """Puts lease, activity and warnings together and decides. One lock; never waits for a disk, a tool or a network."""

    def __init__(self, home: str, config: Json, unknown_keys: list[str], state: Json, build: str) -> None:
        self.home, self.build, self.config = home, build, config
        self.lock = threading.RLock()
        self._boot_id = kernel_boot_id()
        self._run_id = run_identity(self._boot_id)
        self.clock = Clock(state.get("clock") or {}, self._boot_id)
        self.started_at = self.clock.now()
        self.ticked_at = boot_seconds()
        self.token = b""
        self.wake: Callable[[], None] = lambda: None
        self.end_wanted, self.end_changed = threading.Event(), threading.Event()
        self.is_hooking = self._is_able = False
        self.metadata = Metadata()
        self.has_tags: bool | None = None
        self._silence = ""
        self._spot: Json | None = None
        self._rebalance: Json | None = None
        self.spot_hooked: str | None = state.get("spot_hooked")
        self.ways = Ways(home, self.metadata)
        self.ways_found: Json = {rung: [] for rung in RUNGS}
        self._status, self._status_at, self._status_view = b"", 0.0, -1
        is_same_run = state.get("run_id") == self._run_id
        self.journal = Journal(self.lock, self.clock.now, state)
        self.lease = Lease(self.journal, state)
        if not is_same_run:
            self.lease.grant_grace(self.started_at)
        self.activity = Activity(home, self.journal, self.clock, config)
        self.activity.restore(state, is_same_run)
        self.history = History()
        self.activity.wake = lambda: self.wake()
        self.warner = Warner(home, self.journal, state.get("warned") if is_same_run else None)
        self.ending: Json | None = state.get("ending") if is_same_run else None
        if self.ending is not None:
            self.ending["next_try_at"] = None
            self.end_wanted.set()
        self.adopt_config(config, unknown_keys)

    def state(self) -> Json:
        """The document for state.json."""
        with self.lock:
            document: Json = {
                "schema": SCHEMA, "version": VERSION, "instance_key": instance_key(self.config), "config": self.config,
                "saved_at": utc(self.clock.trusted()), "run_id": self._run_id, "clock": self.clock.saved(),
                "ending": self.ending, "warned": self.warner.saved(), "alarms": list(self.journal.alarms.values()),
                "events": list(self.journal.events), "spot_hooked": self.spot_hooked,
            }  # fmt: skip
            document.update(self.lease.saved())
            document.update(self.activity.saved())
            return document

    def adopt_config(self, config: Json, unknown_keys: list[str]) -> None:
        """Take a configuration; one that names another instance is not for this host.

        What of its `end` would work is found out first, without the lock: sudo and the metadata service are asked.
        """
        self.metadata.url = config["metadata"]["url"]
        found = self.ways.look(config)
        with self.lock:
            if instance_key(config) != instance_key(self.config):
                text = f"config.json now names another instance ({config['instance']['id']}); it is ignored"
                self.journal.alarm("config", text)
                return
            self.config = self.activity.config = config
            self.ways_found = found
            self.journal.alarm("config", "", is_on=False)
            text = "config.json has unknown keys, which do nothing: " + ", ".join(unknown_keys)
            self.journal.alarm("config-unknown-keys", text, is_on=bool(unknown_keys))
            self.lease.adopt(config["policy"])
            self._check_guard()
            self.journal.touch()
        self.wake()

    def _check_guard(self) -> None:
        """Say so when nothing would end this host, or when what should cannot."""
        policy = self.lease.policy
        limits = ("lease_deadline", "hard_deadline", "idle_timeout_s")
        text = "nothing will end this host: no lease, no hard deadline and no idle timeout"
        self.journal.alarm("no-deadline", text, is_on=all(policy[name] is None for name in limits))
        needed = {policy["idle_action"]: "idle"} if policy["idle_timeout_s"] is not None else {}
        if policy["lease_deadline"] is not None or policy["hard_deadline"] is not None:
            needed[policy["lease_action"]] = "lease"
        usable = {rung: [step for step in self.ways_found[rung] if not step["problem"]] for rung in RUNGS}
        self._is_able = any(usable.values()) and all(ladder(*pair, usable) for pair in needed.items())
        text = "this host cannot end itself: " + self._why_unable(list(needed or ACTIONS))
        self.journal.alarm("no-end", text, is_on=not self._is_able)

    def _why_unable(self, actions: list[str]) -> str:
        problems = ["{method}: {problem}".format(**step) for action in actions for step in self.ways_found[action]]
        return "; ".join(dict.fromkeys(problems)) or "no way is configured to " + " or ".join(actions)

    def has_broken_ways(self) -> bool:
        """Whether some step of `end` would not work now; a role, for one, appears a while after it was attached."""
        return any(step["problem"] for steps in self.ways_found.values() for step in steps)

    def look_at_ways(self) -> None:
        """Find out again what of `end` would work; permissions and metadata services come and go."""
        config = self.config
        found = self.ways.look(config)
        with self.lock:
            if self.config is config and found != self.ways_found:
                self.ways_found = found
                self._check_guard()
                self.journal.touch()

    # -- deciding --

    def plan(self) -> list[tuple[float, str]]:
        """Everything that will end this host, soonest first."""
        policy, activity = self.lease.policy, self.activity
        idle, parked = policy["idle_timeout_s"], policy["parked_timeout_s"]
        ends = [(self.lease.end(), "lease"), (policy["hard_deadline"], "hard")]
        if idle is not None and not activity.held_by and not activity.unknown:
            ends.append((activity.idle_since + idle, "idle"))
        if parked is not None and activity.parked_since is not None:
            ends.append((activity.parked_since + parked, "parked"))
        return sorted(((at, why) for at, why in ends if at is not None), key=lambda end: end[0])

    def _due(self, now: float) -> list[str]:
        """What has come due. Idleness only as of the last observation, so that a clock alone never ends a host."""
        seen = self.activity.observed_at
        observed = -1.0 if seen is None else min(seen, now)
        return [why for at, why in self.plan() if at <= (now if why in ("lease", "hard") else observed)]

    def tick(self) -> None:
        """One look at clock, signals and deadlines; called about once a second and after every sample."""
        with self.lock:
            self._watch_clock()
            self.ticked_at = boot_seconds()
            now = self.clock.now()
            if self.activity.is_due():
                self.observe(now)
            if self.ending is not None:
                if not self.is_hooking:
                    self.is_end_wanted()
                return
            due, policy = self._due(now), self.lease.policy
            if due:
                self.begin_end(policy["lease_action" if due[0] in ("lease", "hard") else "idle_action"], due[0])
            else:
                self._warn(now)

    def observe(self, now: float) -> None:
        """Take the present readings into account, as they count in this phase."""
        self.activity.observe(now, self.ending is not None, self.lease.policy["parked_timeout_s"])
        self.history.add(now, self.activity.readings())

    def _warn(self, now: float) -> None:
        plan = self.plan()
        self.warner.look(now, plan[0] if plan else None, self.lease.policy, self.config)

    def _watch_clock(self) -> None:
        followed, refused = self.clock.wall_jump()
        if followed:
            self.journal.note("clock", followed)
        present = self.journal.alarms.get("clock-jump")
        text = present["text"] if present and refused else refused  # told once, not anew with every second
        self.journal.alarm("clock-jump", text, is_on=bool(refused))

    def next_event_s(self) -> float:
        """Real seconds until the plan needs a look, at most one."""
        with self.lock:
            now, speed = self.clock.now(), self.clock.speed
            soonest = min((at - now for at, _ in self.plan() if at > now), default=1e9)
            longest = min(1.0, float(self.config["sample_interval_s"]))
            return max(0.02, min(longest, soonest / speed if speed > 0 else longest))

    def begin_end(self, action: str, reason: str) -> None:
        """Start the way to the end; the Ender thread walks it."""
        self.ending = {
            "action": action, "reason": reason, "since": self.clock.now(), "attempts": 0, "last_error": None,
            "next_try_at": None, "hook_done": self._spot is not None and self.spot_hooked == self._spot["time"],
            "tried": [],
        }  # fmt: skip
        self.journal.note("end", f"this host is being {PAST_TENSE[action]} because {WHAT_ENDS[reason]}")
        self.end_wanted.set()

    def is_end_wanted(self) -> bool:
        """Whether what is under way still has its reason; if not, call it off. A deadline takes over from idleness."""
        with self.lock:
            ending = self.ending
            if ending is None:
                return False
            if ending["reason"] == "request":
                return True
            due = self._due(self.clock.now())
            if not due:
                self._call_off()
                return False
            deadline = next((why for why in due if why in ("lease", "hard")), None)
            if deadline is not None and ending["reason"] not in ("lease", "hard"):
                ending.update(reason=deadline, action=self.lease.policy["lease_action"], begun_at=ending["attempts"])
                self.journal.touch()
            return True

    def _call_off(self) -> None:
        self.ending = None
        self.warner.call_off("The end of this host was called off.", self.config)
        self.journal.alarm("end-failing", "", is_on=False)
        self.journal.note("cancel", "the end was called off: its reason is gone")
        self.end_changed.set()

    # -- what EC2 says --

    def uses_metadata(self) -> bool:
        """Whether there is a metadata service to ask: on EC2, unless the configuration says otherwise."""
        use = self.config["metadata"]["use"]
        return bool(use) if use is not None else self.config["provider"] == "aws"

    def metadata_silent(self, text: str) -> None:
        """The service does not answer for a while, or answers again (no text)."""
        self._silence = text
        self.journal.alarm("metadata", text, is_on=bool(text))

    def take_tags(self, policy: Json | None, problem: str) -> None:
        """Limits read from the instance's tags."""
        self.journal.alarm("tags", problem, is_on=bool(problem))
        if policy is None:
            return
        with self.lock:
            if self.lease.adopt_tags(policy):
                self._check_guard()
                self.journal.touch()
        self.wake()

    def take_rebalance(self, notice: Json | None) -> None:
        """EC2 says that this spot host is at a higher risk of being taken; it may, or may not, come to that."""
        with self.lock:
            self._rebalance = notice
            text = "EC2 sees a higher risk that this spot host is taken back soon ({})".format(
                (notice or {}).get("noticeTime")
            )
            is_new = notice is not None and "rebalance" not in self.journal.alarms
            self.journal.alarm("rebalance", text, is_on=notice is not None, kind="spot")
        if is_new:
            say_on_terminals(text + ". Save your work often.", self.config)

    def take_spot(self, notice: Json | None) -> None:
        """EC2 will take this spot host back in a moment: warn who is logged in, and let the hook save what it can."""
        with self.lock:
            if notice == self._spot:
                return
            self._spot = notice
            at = None if notice is None else parse_time(notice["time"])
            text = "EC2 takes this spot host back: it will {} at {}. Save your work now.".format(
                (notice or {}).get("action"), utc(at)
            )
            self.journal.alarm("spot-notice", "", is_on=False)
            self.journal.alarm("spot-notice", text, is_on=notice is not None, kind="spot")
            is_hook_due = notice is not None and self.ending is None and self.spot_hooked != notice["time"]
            if notice is not None:
                self.spot_hooked = notice["time"]
        if notice is None or at is None:
            return
        say_on_terminals(text, self.config)
        if is_hook_due:
            speed = self.clock.speed or 1.0
            left = (at - self.clock.now()) / speed - 5
            limit = max(1.0, min(float(self.config["hook_timeout_s"]), left))
            arguments = (self, notice["action"], "spot", limit)
            threading.Thread(target=run_hook, args=arguments, name="spot-hook", daemon=True).start()

    @property
    def warning(self) -> str | None:
        """What warning.txt says: EC2's notice before anything of ours."""
        notice = self.journal.alarms.get("spot-notice")
        return notice["text"] if notice else self.warner.text

    # -- requests --

    def declare_activity(self, body: Json) -> Json:
        """POST /activity: activity now, and with hold_s until then, within the lease."""
        allow_only(body, "hold_s", "seconds")
        hold: Any = body.get("hold_s", body.get("seconds"))
        hold = 0 if hold is None else hold
        if not (is_number(hold) and hold >= 0):
            raise Refusal(400, "hold_s must be a number of seconds of at least 0, for example 1800", field="hold_s")
        with self.lock:
            now = self.clock.now()
            ends = [end for end in (self.lease.end(), self.lease.policy["hard_deadline"]) if end is not None]
            is_clamped = self.activity.declare(now, hold, min(ends, default=now + HOLD_LIMIT_S))
            self.observe(now)
            if self.ending is None:
                self._warn(now)
            return dict(self.activity.report_declared(), ok=True, clamped=is_clamped)

    def extend(self, body: Json) -> Json:
        """POST /extend: move the lease deadline; answered when it is on the disk, or when the disk does not take it."""
        allow_only(body, "deadline", "seconds", "key", "allow_shorten")
        with self.lock:
            is_applied = self.lease.extend(body, self.clock.now())
            self._check_guard()
        self.wake()
        is_saved = self.journal.wait_saved(5.0)
        with self.lock:
            policy = self.lease.policy
            return {
                "lease_deadline": utc(policy["lease_deadline"]), "hard_deadline": utc(policy["hard_deadline"]),
                "applied": is_applied, "clamped": False, "saved": is_saved,
            }  # fmt: skip

    def shutdown(self, body: Json) -> Json:
        """POST /shutdown: end the host now, by hook and end command, without warnings."""
        allow_only(body, "action")
        action = body.get("action")
        if action not in ACTIONS:
            raise Refusal(400, "action must be one of stop, hibernate, terminate", field="action")
        with self.lock:
            if not self.config["end"][action]:
                raise Refusal(409, f"this host has no way to {action} itself", field="action")
            if self.ending is None:
                self.begin_end(action, "request")
            else:
                self.ending.update(action=action, reason="request", begun_at=self.ending["attempts"])
                self.journal.note("end", f"asked to {action} while an end was under way")
                self.end_changed.set()
            return {"accepted": True, "action": action}

    # -- reporting --

    def is_alive(self) -> bool:
        """Whether the enforcing thread still comes round."""
        return boot_seconds() - self.ticked_at < 30

    def status_json(self) -> bytes:
        """The /status document, made anew when something changed or a quarter of a second has passed."""
        if self._status_view == self.journal.view and boot_seconds() - self._status_at < 0.25:
            return self._status
        with self.lock:
            self._status_view = self.journal.view
            self._status = json.dumps(self.status()).encode()
            self._status_at = boot_seconds()
            return self._status

    def status(self) -> Json:
        """Everything that is known, for /status, /metrics and the page."""
        with self.lock:
            now, policy, activity = self.clock.now(), self.lease.policy, self.activity
            plan = [(self.ending["since"], self.ending["reason"])] if self.ending else self.plan()
            if self._spot is not None:
                plan.append((parse_time(self._spot["time"]), "spot"))
            end_at, end_why = min(plan) if plan else (None, None)
            lease_end, machine, cpu_pct = self.lease.end(), activity.sensors.machine, activity.sensors.cpu_pct
            return {
                "schema": SCHEMA, "version": VERSION, "build": self.build, "pid": os.getpid(), "now": utc(now),
                "started_at": utc(self.started_at), "boot_id": os.environ.get("GPUDASH_BOOT_ID") or self._boot_id,
                "instance": self.config["instance"], "policy": self.lease.report(),
                "lease": {
                    "deadline": utc(policy["lease_deadline"]), "hard_deadline": utc(policy["hard_deadline"]),
                    "remaining_s": None if lease_end is None else whole(lease_end - now),
                },
                "idle": activity.report_idle(policy, now), "parked": activity.report_parked(policy, now),
                "awake_because": activity.awake_because, "signals": activity.report_signals(),
                "gpus": activity.gpu.latest()[0],
                "alarms": [
                    {"code": alarm["code"], "text": alarm["text"], "since": utc(alarm["since"])}
                    for alarm in self.journal.alarms.values()
                ],
                "warnings": self.warner.said, "phase": self._phase(), "ending": self._report_ending(),
                "enforcing": self._is_able and self.is_alive(), "end_method": self._end_method(),
                "end": self._report_ways(), "metadata": self._report_metadata(),
                "ends_at": utc(end_at), "ends_why": end_why, "load_1m": machine["load_1m"],
                "cpu_pct": None if cpu_pct is None else round(cpu_pct, 1), "memory": machine["memory"],
                "disk": machine["disk"], "events": list(self.journal.events),
            }  # fmt: skip

    def _report_metadata(self) -> Json | None:
        """The `metadata` of /status: what EC2 announced, and whether it can be heard."""
        if not self.uses_metadata():
            return None
        return {
            "problem": self._silence or None, "tags": self.has_tags, "spot": self._spot, "rebalance": self._rebalance,
        }  # fmt: skip

    def _report_ending(self) -> Json | None:
        if self.ending is None:
            return None
        ending = {name: self.ending[name] for name in ("action", "reason", "attempts", "last_error")}
        ending["tried"] = self.ending.get("tried", [])
        return dict(ending, since=utc(self.ending["since"]), next_try_at=utc(self.ending["next_try_at"]))

    def _end_method(self) -> str:
        methods = dict.fromkeys(step["method"] for rung in RUNGS for step in self.ways_found[rung])
        return "+".join(methods) or "none"

    def _report_ways(self) -> Json:
        """The `end` of /status: what this host can do to itself, and what is wrong with the ways that do not work."""
        ways = [dict(step, action=rung) for rung in RUNGS for step in self.ways_found[rung]]
        can = [rung for rung in ACTIONS if any(not step["problem"] for step in self.ways_found[rung])]
        return {"can": can, "ways": ways}

    def _phase(self) -> str:
        if self.ending is not None:
            return "hook" if self.is_hooking else "ending"
        return "warning" if self.warner.said else "watching"


def allow_only(body: Json, *names: str) -> None:
    """Refuse a request that says something we would not act on."""
    for name in body:
        if name not in names:
            raise Refusal(400, "unknown field {}; known are {}".format(json.dumps(name), ", ".join(names)), field=name)


# ---- the end: hook, end command, retry for ever ----------------------------------------------------------------------


def end_environment(core: Core, action: str, reason: str) -> dict[str, str]:
    """What hooks and end commands are told."""
    return {"GPUDASH_ACTION": action, "GPUDASH_REASON": reason, "GPUDASH_HOME": core.home}


def run_hook(core: Core, action: str, reason: str, limit: float) -> None:
    """Run `pre-stop`, if there is one, for at most `limit` seconds."""
    hook = os.path.join(core.home, "pre-stop")
    error = ""
    if os.access(hook, os.X_OK):
        error = run_bounded([hook], limit, end_environment(core, action, reason))
        core.journal.note("hook", "pre-stop " + (error or "done"))
    core.journal.alarm("hook-failed", "the pre-stop hook failed: " + error, is_on=bool(error))


class Ender(threading.Thread):
    """Walks an ending: the hook once, then end commands until the host is gone or the reason is."""

    def __init__(self, core: Core) -> None:
        super().__init__(name="ender", daemon=True)
        self._core = core

    def run(self) -> None:
        """Wait for an ending and take its steps one by one."""
        core = self._core
        while True:
            core.end_wanted.wait()
            with core.lock:
                ending = core.ending
                if ending is None:
                    core.end_wanted.clear()
                    continue
            core.end_changed.clear()
            if not ending["hook_done"]:
                self._run_hook(ending)
            elif self._is_confirmed(ending):
                self._attempt(ending)

    def _run_hook(self, ending: Json) -> None:
        core = self._core
        core.is_hooking = os.access(os.path.join(core.home, "pre-stop"), os.X_OK)
        core.journal.touch()
        run_hook(core, ending["action"], ending["reason"], core.config["hook_timeout_s"])
        with core.lock:
            ending["hook_done"] = True
            core.is_hooking = False
            core.journal.touch()

    def _is_confirmed(self, ending: Json) -> bool:
        """Look once more before the command: idleness needs a sample that is newer than now."""
        core = self._core
        if ending["reason"] in ("idle", "parked"):
            rounds, until = core.activity.rounds, boot_seconds() + 2 * core.config["sample_interval_s"] + 2
            while core.activity.rounds == rounds and boot_seconds() < until and core.ending is ending:
                core.end_changed.wait(0.05)
            with core.lock:
                core.observe(core.clock.now())
        return core.is_end_wanted()

    def _attempt(self, ending: Json) -> None:
        core = self._core
        failing_s = core.clock.now() - ending["since"]
        steps = ladder(ending["action"], ending["reason"], core.config["end"], failing_s)
        if not steps:
            error = "no way is configured to {}".format(ending["action"])
        else:
            rung, step = step_for(ending["attempts"] - ending.get("begun_at", 0), steps)
            environment = end_environment(core, ending["action"], ending["reason"])
            error = core.ways.take(rung, step, core.config, environment, core.clock.trusted())
            self._record(ending, rung, step["method"], error)
        pause = min(60.0, 2.0 ** min(ending["attempts"], 6)) if error else END_TIMEOUT_S
        with core.lock:
            ending["attempts"] += 1
            if error:
                ending["last_error"] = error
                core.journal.alarm("end-failing", "this host could not end itself and still costs money: " + error)
            ending["next_try_at"] = core.clock.now() + pause * core.clock.speed
            core.journal.touch()
        if not core.end_changed.wait(pause) and not error:
            with core.lock:
                ending["last_error"] = "the command succeeded but the host still runs"
                core.journal.alarm("end-failing", "this host was told to end and still runs: " + ending["last_error"])

    def _record(self, ending: Json, rung: str, method: str, error: str) -> None:
        """Every attempt is kept: in the log, and the last ones in /status and over a restart."""
        core = self._core
        with core.lock:
            tried = {"at": utc(core.clock.now()), "action": rung, "method": method, "error": error or None}
            ending["tried"] = [*ending.get("tried", []), tried][-TRIED_KEPT:]
        text = "attempt {}: {} by {}: {}".format(ending["attempts"] + 1, rung, method, error or "accepted")
        core.journal.note("end", text)


# ---- outside: what EC2 announces, what the instance's tags say --------------------------------------------------------

# The revision is read first: where tags are written meanwhile, an old one beside new limits is put right by the next look,
# a new one beside old limits would stand.
POLICY_TAGS = {
    "gpudash:revision": "revision",
    "gpudash:lease-deadline": "lease_deadline", "gpudash:hard-deadline": "hard_deadline",
    "gpudash:idle-timeout": "idle_timeout_s", "gpudash:idle-action": "idle_action",
    "gpudash:lease-action": "lease_action", "gpudash:parked-timeout": "parked_timeout_s",
}  # fmt: skip
LENGTHS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
META, TAGS_PATH = "/latest/meta-data/", "/latest/meta-data/tags/instance"


def parse_length(text: str) -> int:
    """The seconds of 90s, 30m, 1h30m or 2d; ValueError for anything else."""
    seconds, digits = 0, ""
    for letter in text:
        if letter.isdigit() and letter.isascii():
            digits += letter
        elif letter in LENGTHS and digits:
            seconds, digits = seconds + int(digits) * LENGTHS[letter], ""
        else:
            raise ValueError(f"{text} is no length of time")
    if digits or seconds == 0:
        raise ValueError(f"{text} is no length of time")
    return seconds


def policy_of_tags(tags: dict[str, str]) -> Json | None:
    """The limits that tags carry; None where they carry none. Problem names what cannot be read."""
    given: Json = {field: tags[name] for name, field in POLICY_TAGS.items() if tags.get(name)}
    if not given:
        return None
    try:
        for name in ("idle_timeout_s", "parked_timeout_s"):
            if name in given:
                given[name] = parse_length(given[name])
        given["revision"] = int(given.get("revision", "1"))
    except ValueError as exc:
        raise Problem(f"the tags of this instance cannot be read: {exc}; they are ignored") from None
    errors: list[str] = []
    policy = check_section(given, FIELDS["policy"], "", errors, [])
    if errors:
        raise Problem(f"the tags of this instance cannot be read: {errors[0]}; they are ignored")
    return policy


class Outside(threading.Thread):
    """Asks EC2's metadata service for notices and tags, and now and then which ways to the end would work.

    A service that hangs, or is not there, holds up this thread and nothing else.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(name="outside", daemon=True)
        self._core = core
        self._silences = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look, wait, look again."""
        rounds = looked = 0
        while not self._stopped.is_set():
            try:
                if self._core.uses_metadata():
                    self._ask(with_tags=rounds % TAGS_EVERY == 0)
                if rounds - looked >= (BROKEN_WAYS_EVERY if self._core.has_broken_ways() else WAYS_EVERY):
                    looked = rounds
                    self._core.look_at_ways()
            except Exception as exc:  # one broad catch for the whole thread: the next look may go better
                self._core.journal.alarm("internal", f"an internal error: {exc!r}")
            rounds += 1
            self._stopped.wait(min(OUTSIDE_S, self._core.config["sample_interval_s"]))

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()

    def _ask(self, with_tags: bool) -> None:
        core = self._core
        try:
            core.take_spot(self._notice("spot/instance-action", "action", "time"))
            core.take_rebalance(self._notice("events/recommendations/rebalance", "noticeTime"))
            if with_tags:
                self._read_tags()
            self._silences = 0
        except Problem as exc:
            self._silences += 1
            if self._silences >= SILENCES:
                core.metadata_silent(f"{exc}; spot notices and changed tags are not seen")
            return
        core.metadata_silent("")

    def _notice(self, path: str, *fields: str) -> Json | None:
        text = self._core.metadata.get(META + path)
        if text is None:
            return None
        try:
            document = json.loads(text)
            notice = {name: document[name] for name in fields}
            parse_time(notice[fields[-1]])
        except (ValueError, KeyError, TypeError):
            raise Problem(f"the metadata service says something strange at {path}: {text[:80]!r}") from None
        return notice

    def _read_tags(self) -> None:
        core = self._core
        listed = core.metadata.get(TAGS_PATH)
        core.has_tags = listed is not None
        present = (listed or "").split()
        names = [name for name in POLICY_TAGS if name in present]
        tags = {name: (core.metadata.get(f"{TAGS_PATH}/{name}") or "").strip() for name in names}
        try:
            policy, problem = policy_of_tags(tags), ""
        except Problem as exc:
            policy, problem = None, str(exc)
        core.take_tags(policy, problem)


# ---- scribe: the only thread that waits for the disk -----------------------------------------------------------------


def file_stamp(path: str) -> tuple[int, int, int] | None:
    """What changes when a file is rewritten; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Scribe(threading.Thread):
    """Writes state, warning and log; reads configuration and token again when they change."""

    def __init__(self, core: Core) -> None:
        super().__init__(name="scribe", daemon=True)
        self._core = core
        self._stopped = threading.Event()
        self._poke = threading.Event()
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._warning: str | None = ""
        self._logged = 0
        self._is_history_foreign = True  # until it was written by this process
        self._run_file: bytes | None = None
        self._stamps = {name: file_stamp(self._path(name)) for name in ("config.json", "token")}

    def _path(self, name: str) -> str:
        return os.path.join(self._core.home, name)

    def run(self) -> None:
        """Look about once a second, at once when poked; after a failure not before a second is over."""
        while not self._stopped.is_set():
            is_well = self.flush()
            if is_well:
                self._poke.wait(min(1.0, self._core.config["sample_interval_s"]))
            else:
                self._stopped.wait(1.0)
            self._poke.clear()

    def poke(self) -> None:
        """Something changed that should be on the disk now."""
        self._poke.set()

    def stop(self) -> None:
        """Write what is left, within reason, and end."""
        self._stopped.set()
        self._poke.set()
        self.join(3.0)
        if not self.is_alive():
            self._written_at = 0.0
            self.flush()

    def flush(self) -> bool:
        """Everything that is due; False when the state could not be written."""
        self._reread()
        is_saved = self._save()
        if self._run_file is not None:
            self.write_run_file(self._run_file)
        self._write_warning()
        self._write_log()
        self._write_history()
        return is_saved

    def write_run_file(self, content: bytes) -> None:
        """Say in run.json where we serve; on a full disk that is tried again with every flush."""
        try:
            write_atomic(self._path("run.json"), content)
            self._run_file = None
        except OSError:
            self._run_file = content

    def _save(self) -> bool:
        core = self._core
        with core.lock:
            change = core.journal.change
            if change == core.journal.saved_change and boot_seconds() - self._written_at < STATE_EVERY_S:
                return True
            document = json.dumps(core.state()).encode()
        try:
            write_atomic(self._path("state.json"), document)
        except OSError as exc:
            text = f"state.json cannot be written ({exc.strerror}); deadlines are kept in memory and tried again"
            core.journal.alarm("state-write", text)
            core.journal.report_saved(core.journal.change, is_saved=False)
            return False
        self._written_at = boot_seconds()
        core.journal.report_saved(change, is_saved=True)
        core.journal.alarm("state-write", "", is_on=False)
        return True

    def _reread(self) -> None:
        for name, stamp in self._stamps.items():
            found = file_stamp(self._path(name))
            if found != stamp:
                self._stamps[name] = found
                self._reload(name)

    def _reload(self, name: str) -> None:
        core = self._core
        try:
            if name == "token":
                core.token = read_token(self._path("token"))
            else:
                core.adopt_config(*load_config(self._path("config.json")))
        except Problem as exc:
            core.journal.alarm("config", f"{exc}; the policy in force stays")

    def _write_warning(self) -> None:
        text = self._core.warning
        if text != self._warning:
            try:
                if text is None:
                    remove(self._path("warning.txt"))
                else:
                    write_atomic(self._path("warning.txt"), text.encode() + b"\n")
                self._warning = text
            except OSError:
                return  # a full disk raises its alarm with the state; tried again at the next look

    def _write_log(self) -> None:
        journal = self._core.journal
        with self._core.lock:
            count, self._logged = journal.noted - self._logged, journal.noted
            lines = list(journal.lines)[-count:] if count else []
        if lines:
            append_log(self._path("statusd.log"), "\n".join([*lines, ""]))

    def _write_history(self) -> None:
        """A few bytes a minute, not flushed: losing some is no harm. The file is made anew when it has grown twice."""
        path = self._path("history")
        try:
            size = os.path.getsize(path) if os.path.exists(path) else -1
            is_rewrite = not len(History.HEAD) <= size <= 2 * MINUTES_KEPT * History.ROW.size
            with self._core.lock:
                content = self._core.history.take_unsaved(is_rewrite or self._is_history_foreign)
            if is_rewrite or self._is_history_foreign:
                write_atomic(path, content)
                self._is_history_foreign = False
            elif content:
                with open(path, "ab") as file:
                    file.write(content)
        except OSError:
            self._is_history_foreign = True  # on a full disk a row may be torn: made anew when there is space


def append_log(path: str, text: str) -> None:
    """Add to the log, which is cut over to `.1` when it grows past its limit; a full disk loses the lines."""
    try:
        if os.path.exists(path) and os.path.getsize(path) > LOG_LIMIT:
            os.replace(path, path + ".1")
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return


def last_lines(path: str) -> list[str]:
    """The last lines of the log, read once at the start."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 200 * LINES_KEPT))
            return file.read().decode("utf-8", "replace").splitlines()[-LINES_KEPT:]
    except OSError:
        return []


def read_token(path: str) -> bytes:
    """The bearer token; a file that others can read is closed to them."""
    try:
        with open(path, "rb") as file:
            token = file.read().strip()
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                os.chmod(path, 0o600)
    except OSError as exc:
        raise Problem(f"{path} cannot be read: {exc.strerror}") from None
    if not token:
        raise Problem(f"{path} is empty")
    return token


def ensure_token(path: str) -> bytes:
    """The token that push wrote, or a fresh one."""
    if not os.path.exists(path):
        write_atomic(path, os.urandom(32).hex().encode() + b"\n")
    return read_token(path)


# ---- web: a small HTTP/1.1 server on loopback ------------------------------------------------------------------------

REASONS = {
    200: "OK", 202: "Accepted", 303: "See Other", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 411: "Length Required",
    413: "Payload Too Large", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class Request:
    """One parsed request."""

    __slots__ = ("body", "headers", "method", "path", "query", "wants_close")

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, wants_close: bool) -> None:
        self.method, self.headers, self.body, self.wants_close = method, headers, body, wants_close
        self.path, _, self.query = target.partition("?")

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, from 1 to `most`; Refusal for anything else."""
        given = [value for key, _, value in (pair.partition("=") for pair in self.query.split("&")) if key == name]
        if not given:
            return default
        if not (given[0].isascii() and given[0].isdigit() and 1 <= int(given[0][:9]) <= most):
            raise Refusal(400, f"{name} must be a whole number from 1 to {most}", field=name)
        return int(given[0])

    def json(self) -> Json:
        """The body as a JSON object; an empty body is an empty object."""
        if not self.body.strip():
            return {}
        try:
            document = json.loads(self.body.decode("utf-8"))
        except ValueError as exc:
            raise Refusal(400, f"the body is not JSON: {exc}", field="body") from None
        if not isinstance(document, dict):
            raise Refusal(400, "the body must be a JSON object", field="body")
        return document


class Answer:
    """One answer before it is put on the wire."""

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(self, status: int, body: bytes, kind: str = "application/json", headers: tuple[str, ...] = ()) -> None:
        self.status, self.body, self.kind, self.headers = status, body, kind, headers

    def wire(self, wants_close: bool) -> bytes:
        """The bytes to send, head and body in one piece."""
        lines = [
            f"HTTP/1.1 {self.status} {REASONS[self.status]}", f"Content-Type: {self.kind}",
            f"Content-Length: {len(self.body)}", "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
            *self.headers, "Connection: close" if wants_close else "Connection: keep-alive", "\r\n",
        ]  # fmt: skip
        return "\r\n".join(lines).encode("latin-1") + self.body


class Connection:
    """Reads requests from one client within time and size limits, so that a slow one holds nothing but its thread."""

    IDLE_S, SLOW_S = 60.0, 10.0

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def next_request(self) -> Request | None:
        """The next request; None when the client is gone or stays silent; Refusal when it is malformed."""
        if not self._rest and not self._receive(self.IDLE_S):
            return None
        until = boot_seconds() + self.SLOW_S
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > HEAD_LIMIT:
                raise Refusal(431, "the head of the request is too long")
            if not self._receive(until - boot_seconds()):
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        method, target, version, headers = parse_head(head)
        length = self._body_length(headers)
        if length and headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._rest) < length:
            if not self._receive(until - boot_seconds()):
                return None
        body, self._rest = self._rest[:length], self._rest[length:]
        said = headers.get("connection", "").lower()
        wants_close = "close" in said or (version == "HTTP/1.0" and "keep-alive" not in said)
        return Request(method, target, headers, body, wants_close)

    def send(self, content: bytes) -> None:
        """Send all of it, or give up on a client that does not take it."""
        self._sock.settimeout(self.SLOW_S)
        self._sock.sendall(content)

    def drain(self) -> None:
        """Read a little of what a refused client still sends: a reset would take the answer from it."""
        self._sock.shutdown(socket.SHUT_WR)
        self._sock.settimeout(0.5)
        for _ in range(64):
            if not self._sock.recv(65536):
                return

    def _receive(self, patience: float) -> bool:
        if patience <= 0:
            raise Refusal(408, "the request took too long to arrive")
        self._sock.settimeout(patience)
        try:
            chunk = self._sock.recv(65536)
        except socket.timeout:
            if self._rest:
                raise Refusal(408, "the request took too long to arrive") from None
            return False
        self._rest += chunk
        return bool(chunk)

    @staticmethod
    def _body_length(headers: dict[str, str]) -> int:
        if "transfer-encoding" in headers:
            raise Refusal(411, "send the body with a Content-Length", field="transfer-encoding")
        said = headers.get("content-length", "0")
        if not (said.isascii() and said.isdigit() and len(said) < 12):
            raise Refusal(400, "Content-Length must be a whole number", field="content-length")
        if int(said) > BODY_LIMIT:
            raise Refusal(413, f"the body may have at most {BODY_LIMIT} bytes", field="body")
        return int(said)


def parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, path with its query, version and headers of a request; Refusal when it is not HTTP/1."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[1].startswith("/"):
        raise Refusal(400, "this is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise Refusal(400, "a header line is malformed")
        if name in headers and name in ("content-length", "authorization", "transfer-encoding"):
            raise Refusal(400, "this header may come only once", field=name)
        headers[name] = value.strip()
    return words[0], words[1], words[2], headers


class Web:
    """The server: routes, the bearer token, and the read-only session of a browser."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sessions: dict[str, float] = {}
        self._slots = threading.BoundedSemaphore(CONNECTION_LIMIT)
        self._routes: dict[str, dict[str, Callable[[Request], Answer]]] = {
            "/health": {"GET": self._health}, "/status": {"GET": self._status}, "/metrics": {"GET": self._metrics},
            "/": {"GET": self._page}, "/login": {"POST": self._login}, "/logout": {"POST": self._logout},
            "/activity": {"POST": self._activity}, "/extend": {"POST": self._extend},
            "/shutdown": {"POST": self._shutdown}, "/history": {"GET": self._history}, "/log": {"GET": self._log},
        }  # fmt: skip
        self._listener = self._bind(core.config["port"])
        self.port: int = self._listener.getsockname()[1]

    @staticmethod
    def _bind(port: int) -> socket.socket:
        """The configured port, else any free one: 8080 is often taken on rented images."""
        for wanted in (port, 0):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", wanted))
                listener.listen(128)
                return listener
            except OSError as exc:
                listener.close()
                if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        raise Problem("no port is free on 127.0.0.1")

    def start(self) -> None:
        """Begin to accept clients."""
        threading.Thread(target=self._accept, name="web", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                threading.Event().wait(0.2)  # out of descriptors: let some close
                continue
            if not self._slots.acquire(blocking=False):
                sock.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(sock,), name="client", daemon=True).start()
            except RuntimeError:
                self._slots.release()
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(Connection(sock))
        except OSError:
            return  # the client went away; that is its right
        finally:
            self._slots.release()

    def _converse(self, connection: Connection) -> None:
        while True:
            try:
                request = connection.next_request()
            except Refusal as refusal:
                connection.send(Answer(refusal.status, json.dumps(refusal.document).encode()).wire(True))
                connection.drain()
                return
            if request is None:
                return
            connection.send(self._answer(request).wire(request.wants_close))
            if request.wants_close:
                return

    def _answer(self, request: Request) -> Answer:
        try:
            methods = self._routes.get(request.path)
            if methods is None:
                raise Refusal(404, "no such path; known are {}".format(" ".join(sorted(self._routes))), field="path")
            handler = methods.get(request.method)
            if handler is None:
                refusal = Refusal(405, "{} takes {}".format(request.path, ", ".join(methods)), field="method")
                return Answer(405, json.dumps(refusal.document).encode(), headers=("Allow: " + ", ".join(methods),))
            return handler(request)
        except Refusal as refusal:
            extra = ('WWW-Authenticate: Bearer realm="statusd"',) if refusal.status == 401 else ()
            return Answer(refusal.status, json.dumps(refusal.document).encode(), headers=extra)
        except Exception as exc:  # one broad catch for the whole server: it answers, it logs, it goes on
            self._core.journal.note("error", f"{request.method} {request.path}: {exc!r}")
            return Answer(500, b'{"error": "internal error; see statusd.log"}')

    # -- who may --

    def _authorise(self, request: Request, may_use_cookie: bool = False) -> None:
        said = request.headers.get("authorization", "").encode("latin-1")
        if self._is_token(said[7:]) and said[:7].lower() == b"bearer ":
            self._mark_link(request)
            return
        if may_use_cookie and self._has_session(request):
            return
        raise Refusal(401, "a bearer token is needed: Authorization: Bearer TOKEN", field="authorization")

    def _is_token(self, given: bytes) -> bool:
        return bool(self._core.token) and _compare_digest(given, self._core.token)

    def _mark_link(self, request: Request) -> None:
        said = request.headers.get("x-gpudash-link")
        if said is None:
            return
        address, _, port = said.partition(" ")
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            packed = socket.inet_pton(family, address.partition("%")[0])
            self._core.activity.sensors.mark_link(plain_address(packed), int(port))
        except (OSError, ValueError):
            raise Refusal(400, "X-Gpudash-Link must be ADDRESS PORT", field="x-gpudash-link") from None

    def _session_id(self, request: Request) -> str:
        pairs = (pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == self._cookie_name()), "")

    def _cookie_name(self) -> str:
        return f"gpudash-{self.port}"  # browsers share cookies between ports of one address

    def _has_session(self, request: Request) -> bool:
        given, now = self._session_id(request), boot_seconds()
        is_known = False
        for known, until in list(self._sessions.items()):
            if until < now:
                self._sessions.pop(known, None)
            else:
                is_known |= given.isascii() and _compare_digest(given, known)
        return is_known

    # -- routes --

    def _health(self, _request: Request) -> Answer:
        core = self._core
        document: Json = {"ok": core.is_alive(), "version": VERSION, "build": core.build}
        if not document["ok"]:
            document["error"] = f"the enforcing thread has not come round for {boot_seconds() - core.ticked_at:.0f} s"
        return Answer(200 if document["ok"] else 503, json.dumps(document).encode())

    def _status(self, request: Request) -> Answer:
        self._authorise(request, may_use_cookie=True)
        return Answer(200, self._core.status_json())

    def _metrics(self, request: Request) -> Answer:
        self._authorise(request)
        return Answer(200, metrics_text(self._core.status()).encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _history(self, request: Request) -> Answer:
        self._authorise(request, may_use_cookie=True)
        with self._core.lock:
            document = self._core.history.report()
        return Answer(200, json.dumps(document).encode())

    def _log(self, request: Request) -> Answer:
        self._authorise(request, may_use_cookie=True)
        wanted = request.count("lines", LINES_KEPT, LINES_KEPT)
        with self._core.lock:
            lines = list(self._core.journal.lines)[-wanted:]
        return Answer(200, json.dumps({"lines": lines}).encode())

    def _activity(self, request: Request) -> Answer:
        self._authorise(request)
        return Answer(200, json.dumps(self._core.declare_activity(request.json())).encode())

    def _extend(self, request: Request) -> Answer:
        self._authorise(request)
        return Answer(200, json.dumps(self._core.extend(request.json())).encode())

    def _shutdown(self, request: Request) -> Answer:
        self._authorise(request)
        return Answer(202, json.dumps(self._core.shutdown(request.json())).encode())

    def _page(self, request: Request) -> Answer:
        if self._has_session(request):
            return self._html(PAGE)
        return self._html(LOGIN.replace("{note}", ""))

    def _login(self, request: Request) -> Answer:
        _, _, given = request.body.strip().partition(b"token=")
        if not self._is_token(unescape_form(given)):
            note = '<p class="wrong" role="alert">That is not this host\'s token.</p>'
            return self._html(LOGIN.replace("{note}", note), status=401)
        session = os.urandom(24).hex()
        for old in list(self._sessions)[: -SESSION_LIMIT + 1]:
            self._sessions.pop(old, None)
        self._sessions[session] = boot_seconds() + SESSION_S
        cookie = "Set-Cookie: %s=%s; HttpOnly; SameSite=Strict; Path=/; Max-Age=%d"
        headers = ("Location: /", cookie % (self._cookie_name(), session, SESSION_S))
        return Answer(303, b"", "text/plain", headers)

    def _logout(self, request: Request) -> Answer:
        self._sessions.pop(self._session_id(request), None)
        gone = f"Set-Cookie: {self._cookie_name()}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"
        return Answer(303, b"", "text/plain", ("Location: /", gone))

    @staticmethod
    def _html(page: str, status: int = 200) -> Answer:
        nonce = os.urandom(12).hex()
        policy = "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; img-src data:; connect-src 'self'; "
        policy += "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        headers = ("Content-Security-Policy: " + policy % (nonce, nonce), "Referrer-Policy: same-origin")
        content = page.replace("{style}", STYLE).replace("{nonce}", nonce).encode()
        return Answer(status, content, "text/html; charset=utf-8", headers)


def unescape_form(given: bytes) -> bytes:
    """A value of a posted form, %41 and + turned back."""
    first, *rest = given.replace(b"+", b" ").split(b"%")
    try:
        return first + b"".join(bytes.fromhex(part[:2].decode("ascii")) + part[2:] for part in rest)
    except ValueError:
        return given


# ---- metrics ---------------------------------------------------------------------------------------------------------


def metrics_text(status: Json) -> str:
    """The status as Prometheus text; what is unknown is left out, not zero."""
    lines: list[str] = []

    def family(name: str, words: str, samples: list[tuple[Json, float | None]]) -> None:
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines.extend((f"# HELP gpudash_{name} {words}", f"# TYPE gpudash_{name} gauge"))
        for labels, value in known:
            inside = ",".join(f'{key}="{escape_label(str(label))}"' for key, label in labels.items())
            lines.append("gpudash_{}{} {}".format(name, f"{{{inside}}}" if inside else "", json.dumps(float(value))))

    instance, idle, parked = status["instance"], status["idle"], status["parked"]
    about = {
        "version": status["version"],
        "build": status["build"],
        "account": instance["account"],
        "id": instance["id"],
    }
    family("info", "Which statusd this is, and of which instance.", [(about, 1)])
    family("enforcing", "1 when this daemon can and will end the host.", [({}, status["enforcing"])])
    family("lease_remaining_seconds", "Time until the lease ends.", [({}, status["lease"]["remaining_s"])])
    family("idle_seconds", "Time without activity; absent while a sensor is unknown.", [({}, idle["idle_s"])])
    family("idle_remaining_seconds", "Time until the idle action.", [({}, idle["remaining_s"])])
    family("parked_seconds", "Time with GPU memory held and no work.", [({}, parked["parked_s"])])
    phases = ("watching", "warning", "hook", "ending")
    family("phase", "The phase this host is in.", [({"phase": name}, name == status["phase"]) for name in phases])
    signals = status["signals"]
    family("signal_active", "1 when the signal says active; absent when unknown.", [
        ({"signal": one["name"]}, one["verdict"] == "active") for one in signals if one["verdict"] != "unknown"
    ])  # fmt: skip
    family("signal_unknown", "1 when the signal is not known.", [
        ({"signal": one["name"]}, one["verdict"] == "unknown") for one in signals
    ])  # fmt: skip
    family(
        "signal_value", "The last value of the signal.", [({"signal": one["name"]}, one["value"]) for one in signals]
    )
    family("alarm", "1 for each alarm that is on.", [({"code": one["code"]}, 1) for one in status["alarms"]])
    gpus = [({"gpu": gpu["index"], "name": gpu["name"]}, gpu) for gpu in status["gpus"]]
    for name, field, words in (
        ("gpu_utilisation_percent", "util_pct", "Utilisation of a device."),
        ("gpu_memory_used_mib", "memory_used_mib", "Memory used on a device."),
        ("gpu_memory_total_mib", "memory_total_mib", "Memory of a device."),
        ("gpu_temperature_celsius", "temperature_c", "Temperature of a device."),
        ("gpu_power_watts", "power_w", "Power drawn by a device."),
    ):
        family(name, words, [(labels, gpu[field]) for labels, gpu in gpus])
    family("cpu_percent", "Share of the cores in use.", [({}, status["cpu_pct"])])
    family("load_1m", "Load average over a minute.", [({}, status["load_1m"])])
    family("memory_used_mib", "Memory used.", [({}, status["memory"]["used_mib"])])
    family("disk_used_gb", "Space used on the root file system.", [({}, status["disk"]["used_gb"])])
    return "\n".join(lines) + "\n"


def escape_label(text: str) -> str:
    """A label value as Prometheus wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


# ---- page ------------------------------------------------------------------------------------------------------------

STYLE = """
:root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--ink:#14181f;--soft:#5a6472;--line:#e2e6ec;--track:#e8ebf0;
--go:#157a4a;--hold:#2358c5;--warn:#9a5b00;--bad:#b3261e;--warn-bg:#fff4df;--bad-bg:#fdeceb}
@media(prefers-color-scheme:dark){:root{--bg:#0e1116;--card:#161b22;--ink:#e8ebf0;--soft:#98a3b3;--line:#262d37;
--track:#252c36;--go:#4cc38a;--hold:#7aa7ff;--warn:#f0b35a;--bad:#ff8a80;--warn-bg:#2b2211;--bad-bg:#2e1716}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums}
main,header,footer{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;padding-top:1.75rem}
h1{font-size:1.35rem;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:.8rem;font-weight:600;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:0 0 .75rem}
.soft{color:var(--soft)}.pill{margin-left:auto;border:1px solid currentColor;border-radius:99px;padding:.1rem .75rem;
font-size:.85rem;font-weight:600}
.go{color:var(--go)}.hold{color:var(--hold)}.warn{color:var(--warn)}.bad{color:var(--bad)}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.25rem;margin-top:1rem;
min-width:0}
.hero b{display:block;font-size:clamp(2.1rem,8vw,3.4rem);line-height:1.1;letter-spacing:-.03em;font-weight:650}
.hero p{margin:.35rem 0 0}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem}
.meter{height:8px;border-radius:9px;background:var(--track);overflow:hidden;margin:.4rem 0}
.meter i{display:block;height:100%;border-radius:9px;background:currentColor;transition:width .4s}
.note{border-radius:12px;padding:.7rem 1rem;margin-top:1rem;border:1px solid currentColor}
.note.bad{background:var(--bad-bg)}.note.warn{background:var(--warn-bg)}
.note b{display:block}.note span{color:var(--ink)}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:500;color:var(--soft);font-size:.85rem;padding:0 .75rem .35rem 0}
td{border-top:1px solid var(--line);padding:.45rem .75rem .45rem 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child,td:nth-child(2){white-space:nowrap}td.num,th.num{text-align:right;white-space:nowrap;padding-right:0}
.gpu+.gpu{border-top:1px solid var(--line);margin-top:.9rem;padding-top:.9rem}
.row{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem}
svg{display:block;width:100%;height:34px;margin-top:.35rem}
ol{list-style:none;margin:0;padding:0}li{display:grid;grid-template-columns:9.5rem 1fr;gap:0 .75rem;padding:.3rem 0}
footer{padding-top:1rem;padding-bottom:2rem;font-size:.85rem;color:var(--soft);display:flex;
flex-wrap:wrap;gap:.25rem 1rem}
button{font:inherit;color:inherit;background:none;border:1px solid var(--line);border-radius:8px;padding:.35rem .8rem;
cursor:pointer}
footer button{padding:0 .6rem}
:focus-visible{outline:2px solid var(--hold);outline-offset:2px}
.login{max-width:25rem;margin:14vh auto 0}
.login input{width:100%;font:inherit;padding:.55rem .7rem;margin:.35rem 0 1rem;
border:1px solid var(--soft);border-radius:8px;background:var(--bg);color:inherit}
.login button{background:var(--hold);border-color:var(--hold);color:var(--card);font-weight:600;width:100%;
padding:.55rem}
.wrong{color:var(--bad);margin:.2rem 0}
@media(max-width:40rem){.pair{grid-template-columns:1fr}.opt{display:none}li{grid-template-columns:1fr}
main,header,footer{padding-left:.85rem;padding-right:.85rem}section{padding:1rem}}
@media(prefers-reduced-motion:reduce){.meter i{transition:none}}
"""

LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>statusd: sign in</title><link rel="icon" href="data:,"><style nonce="{nonce}">{style}</style>
<main><section class="login"><h1>statusd</h1>
<p class="soft">This host shows itself to those who hold its token.</p>{note}
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button>Show this host</button></form>
<p class="soft">It stands in <code>~/.gpudash/token</code> on the host.</p></section></main></html>
"""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>statusd</title><link rel="icon" href="data:,"><style nonce="{nonce}">{style}</style>
<header><h1 id="name">&hellip;</h1><span class="soft" id="where"></span>
<span class="pill" id="phase" role="status"></span></header>
<main><div id="notes" aria-live="polite"></div>
<section class="hero" aria-label="When this host ends"><b id="left">&hellip;</b><p id="why"></p></section>
<div class="pair"><section><h2>Lease</h2><div id="lease"></div></section>
<section><h2>Idle</h2><div id="idle"></div></section></div>
<section><h2>GPUs</h2><div id="gpus"></div></section>
<section><h2>Signals</h2><table><thead><tr><th scope="col">Signal<th scope="col">Says<th scope="col">Value
<th scope="col" class="opt">Detail<th scope="col" class="num">Age</tr></thead>
<tbody id="signals"></tbody></table></section>
<div class="pair"><section><h2>Machine</h2><div id="machine"></div></section>
<section><h2>Recent</h2><ol id="events"></ol></section></div></main>
<footer><span id="about"></span><span id="fresh"></span>
<form method="post" action="/logout"><button>Sign out</button></form></footer>
<script nonce="{nonce}">
"use strict";
const $=id=>document.getElementById(id), past={}, NONE="\\u2013";
function el(tag,kind,...kids){const e=document.createElement(tag);if(kind)e.className=kind;
  e.append(...kids.filter(k=>k!==null&&k!==undefined));return e}
function put(id,...kids){$(id).replaceChildren(...kids.filter(k=>k!==null&&k!==undefined))}
function spoken(s){if(s===null)return NONE;if(s<120)return s+" s";const m=Math.floor(s/60),h=Math.floor(m/60),
    d=Math.floor(h/24);
  if(h<1)return m+" min";if(d<1)return h+" h"+(m%60?" "+m%60+" min":"");return d+" d"+(h%24?" "+h%24+" h":"")}
function clock(t){if(!t)return NONE;const d=new Date(t);return d.toLocaleString([],{weekday:"short",hour:"2-digit",
    minute:"2-digit",hourCycle:"h23"})}
function big(n){return n===null?NONE:n.toLocaleString("en",{maximumFractionDigits:n<10?1:0})}
function shown(v,u){if(v===null)return NONE;if(u==="B/s"){for(const x of["B/s","kB/s","MB/s"]){
    if(v<1000)return big(v)+" "+x;v/=1000}
  return big(v)+" GB/s"}if(u==="s")return spoken(Math.round(v))+" ago";return big(v)+(u?" "+u:"")}
function meter(label,part,tone,words){const p=Math.max(0,Math.min(100,part)),i=el("i"),m=el("div","meter "+tone,i);
  i.style.width=p+"%";m.setAttribute("role","meter");m.setAttribute("aria-label",label);
    m.setAttribute("aria-valuemin",0);
  m.setAttribute("aria-valuemax",100);m.setAttribute("aria-valuenow",Math.round(p));m.setAttribute("aria-valuetext",
    words);return m}
function spark(values){const n="http://www.w3.org/2000/svg",s=document.createElementNS(n,"svg"),
    l=document.createElementNS(n,"polyline");
  s.setAttribute("viewBox","0 0 119 34");s.setAttribute("preserveAspectRatio","none");s.setAttribute("aria-hidden",
    "true");
  l.setAttribute("points",values.map((v,i)=>(119-2*(values.length-1-i))+","+(32-v*.3)).join(" "));
    l.setAttribute("fill","none");
  l.setAttribute("stroke","currentColor");l.setAttribute("stroke-width","1.5");l.setAttribute("vector-effect",
    "non-scaling-stroke");
  s.append(l);return s}
const SAYS={lease:"its lease ends",hard:"its hard deadline is reached",idle:"it is idle",
    parked:"GPU memory is held without work",
  request:"it was asked to",spot:"EC2 takes its capacity back"},
  DOES={stop:"stops",hibernate:"hibernates",terminate:"is terminated"};
function note(tone,title,text){return el("div","note "+tone,el("b","",title),el("span","",text))}
function draw(s){
  const name=s.instance.name||s.instance.id;document.title=name+" \\u00b7 statusd";$("name").textContent=name;
  $("where").textContent=[s.instance.account,s.instance.region,s.instance.id].filter(Boolean).join(" \\u00b7 ");
  const tone=s.phase==="watching"?(s.enforcing?"go":"bad"):s.phase==="warning"?"warn":"bad";
  $("phase").className="pill "+tone;$("phase").textContent=s.enforcing?s.phase:"not enforcing";
  put("notes",...(s.ending?[note("bad","This host is ending",s.ending.action+" because "+SAYS[s.ending.reason]+". "+
      (s.ending.last_error?"Attempt "+s.ending.attempts+" failed: "+s.ending.last_error+
      ". It is tried again.":""))]:[]),
    ...s.warnings.slice(-1).map(w=>note("warn","Warning",w.text)),...s.alarms.map(a=>note("bad","Alarm",a.text)));
  const left=s.ends_at?Math.max(0,Math.round((Date.parse(s.ends_at)-Date.parse(s.now))/1000)):null;
  const act=s.ends_why==="spot"?s.metadata.spot.action:
    s.ends_why==="lease"||s.ends_why==="hard"?s.policy.lease_action:s.policy.idle_action;
  $("left").textContent=s.ending?"Ending now":left===null?"No end in sight":"Ends in "+spoken(left);
  $("left").className=s.ending||(left!==null&&left<300)||left===null?"bad":left<900?"warn":"";
  $("why").textContent=s.ending||left===null?"":"It "+DOES[act]+" "+clock(s.ends_at)+" because "+SAYS[s.ends_why]+".";
  put("lease",el("div","row",el("span","",s.lease.deadline?spoken(s.lease.remaining_s)+" left":"no lease"),
      el("span","soft",clock(s.lease.deadline))),el("div","row soft",el("span","","hard deadline"),el("span","",
    clock(s.lease.hard_deadline))));
  const i=s.idle,busy=i.held_by.length||i.unknown.length;
  put("idle",el("div","row",busy?el("span","hold",s.awake_because||"starting"):el("span","",
    "idle for "+spoken(i.idle_s)),
      el("span","soft",i.timeout_s?i.action+" after "+spoken(i.timeout_s):"no idle timeout")),
    i.timeout_s?meter("idle time used",busy?0:100*i.idle_s/i.timeout_s,busy?"hold":"warn",
    spoken(i.idle_s)+" of "+spoken(i.timeout_s)):null,
    s.parked.parked_s!==null?el("div","warn",
    "parked for "+spoken(s.parked.parked_s)+(s.parked.timeout_s?" of "+spoken(s.parked.timeout_s):"")):null);
  put("gpus",...(s.gpus.length?s.gpus.map(g=>{
    const h=past[g.index]=(past[g.index]||[]).concat(g.util_pct||0).slice(-60);
      const mem=g.memory_total_mib?100*g.memory_used_mib/g.memory_total_mib:0;
      const cells=[big(g.memory_used_mib)+" of "+big(g.memory_total_mib)+" MiB",
    g.temperature_c===null?null:big(g.temperature_c)+" \\u00b0C",
        g.power_w===null?null:big(g.power_w)+" W"].filter(Boolean).join(" \\u00b7 ");
      const who=(g.processes||[]).map(p=>(p.name||"pid "+p.pid)+
        (p.memory_mib===null?"":" "+big(p.memory_mib)+" MiB")).join(", ");
      return el("div","gpu",el("div","row",el("strong","",g.index+"  "+g.name),el("span","",
    g.util_pct===null?"load unknown":big(g.util_pct)+" %")),
        meter("GPU "+g.index+" load",g.util_pct||0,"go",big(g.util_pct)+" percent"),el("div","row soft",el("span",
    "",cells),el("span","",who)),
        meter("GPU "+g.index+" memory",mem,"hold",cells),el("div","go",spark(h)))}):[el("span","soft","none seen")]));
  const MARK={active:["\\u25cf active","hold"],idle:["\\u25cb idle","soft"],unknown:["? unknown","bad"]};
  put("signals",...s.signals.map(g=>{const m=g.detail.endsWith("pending")?["\u2026 starting",
    "soft"]:MARK[g.verdict],limit=!g.threshold?"":" (> "+shown(g.threshold,g.unit)+")";
    return el("tr","",el("td","",g.name.replace("_"," ")),el("td",g.counts?m[1]:"soft",m[0]),
      el("td","",shown(g.value,g.unit),el("span","soft opt",limit)),el("td","soft opt",
    (g.counts?"":"not counted. ")+g.detail),
      el("td","num soft",g.age_s===null?NONE:g.age_s+" s"))}));
  const part=(a,b)=>a===null||!b?0:100*a/b,m=s.memory,d=s.disk;
  put("machine",...[["CPU",s.cpu_pct||0,s.cpu_pct===null?NONE:big(s.cpu_pct)+" %"],["Memory",part(m.used_mib,
    m.total_mib),
      big(m.used_mib)+" of "+big(m.total_mib)+" MiB"],["Disk",part(d.used_gb,d.total_gb),
    big(d.used_gb)+" of "+big(d.total_gb)+" GB"]]
    .flatMap(([n,p,w])=>[el("div","row",el("span","",n),el("span","soft",w)),meter(n,p,n!=="CPU"&&p>90?"bad":"hold",
    w)]),
    el("div","soft","load "+(s.load_1m===null?NONE:s.load_1m.toFixed(2))));
  put("events",...s.events.slice(-8).reverse().map(e=>el("li","",el("time","soft",clock(e.at)),el("span","",
    e.text))));
  $("about").textContent="statusd "+s.version+" \\u00b7 "+s.build+" \\u00b7 policy "+s.policy.revision+
    " \u00b7 "+(s.end.can.length?"can "+s.end.can.join(" and ")+" itself":"cannot end itself")}
let good=Date.now();
async function tick(){try{const r=await fetch("/status",{
    signal:AbortSignal.timeout?AbortSignal.timeout(5000):undefined});
    if(r.status===401){location.reload();return}draw(await r.json());good=Date.now()}catch(e){}
  const age=Math.round((Date.now()-good)/1000);$("fresh").textContent=age<6?"live":"no answer for "+age+" s";
  $("fresh").className=age<6?"":"bad";document.querySelector("main").style.opacity=age<15?1:.45;setTimeout(tick,2000)}
tick();
</script></html>
"""


# ---- process: lock, start, stop, check -------------------------------------------------------------------------------


def take_lock(home: str) -> int:
    """Hold the home folder for life; Problem with code 3 when another statusd does."""
    fd = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    while not can_lock(fd, fcntl.LOCK_EX):
        if not can_lock(fd, fcntl.LOCK_SH):
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Problem(f"statusd already runs here as pid {holder}", 3)
        fcntl.flock(fd, fcntl.LOCK_UN)  # somebody looks whether one runs, which takes a moment
        time.sleep(0.01)
    with contextlib.suppress(OSError):  # on a full disk --stop finds the pid in run.json
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def is_locked(home: str) -> bool:
    """Whether some process holds the lock now."""
    try:
        fd = os.open(os.path.join(home, "lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        return not can_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def can_lock(fd: int, kind: int) -> bool:
    """Take a lock without waiting. Who only looks takes a shared one: it keeps no other from looking."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def set_aside(path: str, kind: str) -> str:
    """Rename a file that cannot be used to the first free NAME.kind-N, so that nothing is lost."""
    number = 1
    while os.path.exists(f"{path}.{kind}-{number}"):
        number += 1
    target = f"{path}.{kind}-{number}"
    os.replace(path, target)
    return os.path.basename(target)


def load_state(path: str) -> tuple[Json, str]:
    """The state file and, when it cannot be used, the words for the alarm."""
    try:
        with open(path, "rb") as file:
            state = json.loads(file.read().decode("utf-8"))
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            raise ValueError("not a state file of this statusd")
        policy = state["policy"]
        for name in ("lease_deadline", "hard_deadline"):
            if policy[name] is not None and not is_number(policy[name]):
                raise ValueError(f"{name} is no time")
        int(policy["revision"])
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, KeyError, TypeError) as exc:
        return {}, f"{exc}"
    return state, ""


def open_core(home: str, build: str) -> Core:
    """Core from configuration and state. Either alone is enough; what is broken is set aside and becomes an alarm."""
    state_path = os.path.join(home, "state.json")
    state, broken = load_state(state_path)
    config_problem = ""
    try:
        config, unknown_keys = load_config(os.path.join(home, "config.json"))
    except Problem as exc:
        config_problem = str(exc)
        try:
            config, unknown_keys = check_config(state["config"])
        except (Problem, KeyError):
            raise exc from None
    note = ""
    if state and state.get("instance_key") != instance_key(config):
        note = "the state file of another instance was set aside as " + set_aside(state_path, "other")
        state = {}
    core = None
    if not broken:
        try:
            core = Core(home, config, unknown_keys, state, build)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            broken = f"{type(exc).__name__}: {exc}"
    if core is None:
        core = Core(home, config, unknown_keys, {}, build)
        text = "state.json was unusable (%s); it was set aside as %s and the deadlines of config.json are in force"
        core.journal.alarm("state-corrupt", text % (broken, set_aside(state_path, "corrupt")), sticky=True)
    core.history.load(os.path.join(home, "history"), core.clock.now())
    core.journal.lines.extendleft(reversed(last_lines(os.path.join(home, "statusd.log"))))
    if note:
        core.journal.note("start", note)
    if config_problem:
        core.journal.alarm("config", f"{config_problem}; the last good configuration is in force")
    return core


class Daemon:
    """One running statusd: its threads, its files and its end."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._lock = take_lock(home)
        self.core = open_core(home, own_build())
        self.core.token = ensure_token(os.path.join(home, "token"))
        self.web = Web(self.core)
        self._scribe, self._outside = Scribe(self.core), Outside(self.core)
        self._wake_out, self._wake_in = os.pipe()
        for end in (self._wake_out, self._wake_in):
            os.set_blocking(end, False)
        self._is_stopping = False
        self.core.wake, self.core.journal.poke_scribe = self._wake, self._scribe.poke

    def start(self) -> None:
        """Serve, and say where; after this a client may rely on run.json."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._request_stop())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        core = self.core
        core.journal.note("start", f"statusd {VERSION} ({core.build}) serves on 127.0.0.1:{self.web.port}")
        run = {
            "pid": os.getpid(), "port": self.web.port, "version": VERSION, "build": core.build,
            "started_at": utc(core.started_at), "script": os.path.realpath(__file__),
        }  # fmt: skip
        core.activity.start()
        self._scribe.start()
        Ender(core).start()
        self._outside.start()
        core.tick()
        self.web.start()
        self._scribe.write_run_file(json.dumps(run).encode())

    def run(self) -> None:
        """Enforce until asked to stop."""
        core = self.core
        while not self._is_stopping:
            if select.select([self._wake_out], [], [], self._look())[0]:
                os.read(self._wake_out, 4096)
        core.journal.note("stop", "statusd was asked to stop")
        core.activity.stop()
        self._outside.stop()
        self._scribe.stop()
        remove(os.path.join(self.home, "run.json"))

    def _look(self) -> float:
        """Let Core decide; the answer is how long to wait for the next look."""
        try:
            self.core.tick()
            return self.core.next_event_s()
        except Exception as exc:  # one broad catch for the whole loop: a guard that dies of a bug guards nothing
            self.core.journal.alarm("internal", f"an internal error: {exc!r}")
            return 1.0

    def _wake(self) -> None:
        try:
            os.write(self._wake_in, b".")
        except BlockingIOError:
            return

    def _request_stop(self) -> None:
        self._is_stopping = True
        self._wake()


# The second stage gets the compiled program through a descriptor. Compiling leaves 8 MB behind that Python never gives
# back, so the process that serves is one that did not compile.
SECOND_STAGE = (
    "import marshal,sys;file=open(int(sys.argv[2]),'rb');code=marshal.load(file);file.close();"
    "program={'__name__':'statusd','__file__':sys.argv[1]};exec(code,program);"
    "program['serve'](sys.argv[4],int(sys.argv[5]))"
)


def start_second_stage(home: str, code: CodeType, telling: int) -> None:
    """Become a lean process that serves; comes back only where that cannot be done."""
    try:
        fd = os.memfd_create("statusd") if hasattr(os, "memfd_create") else _unnamed_file(home)
        os.write(fd, marshal.dumps(code))
        os.lseek(fd, 0, os.SEEK_SET)
        for passed in (fd, telling):
            if passed >= 0:
                os.set_inheritable(passed, True)
        arguments = [os.path.realpath(__file__), str(fd), "--home", home, str(telling)]
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", SECOND_STAGE, *arguments])
    except (OSError, TypeError, ValueError):
        return


def _unnamed_file(home: str) -> int:
    path = os.path.join(home, "code.tmp")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.unlink(path)
    return fd


def serve(home: str, telling: int) -> None:
    """Serve until SIGTERM; whether that began well is told through the pipe `telling`, or on stdout when it is -1."""
    os.umask(0o077)
    report: Json
    try:
        daemon = Daemon(home)
        daemon.start()
        report = {"port": daemon.web.port, "build": daemon.core.build}
    except Problem as exc:
        report = {"error": str(exc), "code": exc.code}
    except Exception as exc:  # whatever it is, the one who waits has to hear it
        report = {"error": f"statusd cannot start: {exc!r}", "code": 1}
    if telling >= 0:
        os.write(telling, json.dumps(report).encode())
        os.close(telling)
    elif "error" not in report:
        sys.stdout.write(f"statusd {VERSION} ({report['build']}) serves on 127.0.0.1:{report['port']}\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"statusd: {report['error']}\n")
        sys.stderr.flush()
    if "error" in report:
        append_log(os.path.join(home, "statusd.log"), f"{utc(time.time())} {'start':16s} {report['error']}\n")
        os._exit(report["code"])
    daemon.run()
    os._exit(0)  # threads that hang in a disk or a GPU driver are not waited for


def run_foreground(home: str, code: CodeType) -> int:
    """Serve in this process until SIGTERM."""
    start_second_stage(home, code, -1)
    serve(home, -1)
    return 0


def run_daemonized(home: str, code: CodeType) -> int:
    """Serve in a process of its own; returns once it answers, or says why it does not."""
    told, telling = os.pipe()
    if os.fork() == 0:
        os.close(told)
        os.setsid()
        if os.fork() == 0:
            _leave_terminal(telling)
            start_second_stage(home, code, telling)
            serve(home, telling)
        os._exit(0)
    os.close(telling)
    said = b""
    while select.select([told], [], [], 20)[0]:
        chunk = os.read(told, 4096)
        if not chunk:
            break
        said += chunk
    os.wait()
    report = json.loads(said.decode() or '{"error": "statusd did not start; see statusd.log", "code": 1}')
    if "error" in report:
        raise Problem(report["error"], report["code"])
    if ask_health(report["port"]).get("build") != report["build"]:
        raise Problem(f"statusd started but does not answer on 127.0.0.1:{report['port']}")
    sys.stdout.write(f"statusd {VERSION} ({report['build']}) serves on 127.0.0.1:{report['port']}\n")
    return 0


def _leave_terminal(telling: int) -> None:
    """The grandchild keeps no terminal and no inherited descriptor but the pipe."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for name in os.listdir("/dev/fd"):
        if int(name) not in (0, 1, 2, telling):
            with contextlib.suppress(OSError):
                os.close(int(name))


def ask_health(port: int) -> Json:
    """What /health answers; empty when it does not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: link.recv(4096), b""))
        document: Json = json.loads(answer.partition(b"\r\n\r\n")[2].decode())
        return document
    except (OSError, ValueError):
        return {}


def holder_of(home: str) -> int:
    """The pid that holds the lock, proved by the kernel's lock table where there is one and by its command line."""
    pids = []
    for name in ("lock", "run.json"):
        try:
            with open(os.path.join(home, name), encoding="utf-8") as file:
                text = file.read()
            pids.append(int(json.loads(text)["pid"]) if name == "run.json" else int(text))
        except (OSError, ValueError, KeyError, TypeError):  # noqa: PERF203 - two files, either may be broken
            continue
    found = os.stat(os.path.join(home, "lock"))
    for pid in pids:
        command, script = command_line(pid), own_script(home)
        is_statusd = "statusd" in command or (script != "" and script in command)
        if is_statusd and _holds_lock(pid, found.st_ino):
            return pid
    raise Problem("the lock is held, but not provably by a statusd; nothing was stopped")


def _holds_lock(pid: int, inode: int) -> bool:
    try:
        with open("/proc/locks", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return True  # no lock table (macOS): the command line alone decides
    return any(row[1] == "FLOCK" and row[4] == str(pid) and row[5].endswith(f":{inode}") for row in rows)


def command_line(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        asked = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], stdout=subprocess.PIPE, check=False)
        return asked.stdout.decode("utf-8", "replace")


def own_script(home: str) -> str:
    """The script run.json says is running, if it is this program."""
    try:
        with open(os.path.join(home, "run.json"), encoding="utf-8") as file:
            return str(json.load(file)["script"])
    except (OSError, ValueError, KeyError):
        return ""


def stop_running(home: str) -> int:
    """End the statusd of this home and wait until its lock is free."""
    pause, until = threading.Event(), boot_seconds() + 1.0
    pid = 0
    while not pid:
        if not is_locked(home):
            sys.stdout.write("statusd does not run here\n")
            return 0
        try:
            pid = holder_of(home)
        except Problem:  # it may have taken its lock this very moment, or be letting go of it
            if boot_seconds() >= until:
                raise
            pause.wait(0.02)
    for number, patience in ((signal.SIGTERM, 4.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until = boot_seconds() + patience
        while boot_seconds() < until:
            if not is_locked(home):
                sys.stdout.write(f"statusd (pid {pid}) stopped\n")
                return 0
            pause.wait(0.02)
    raise Problem(f"statusd (pid {pid}) does not stop")


def check(home: str) -> int:
    """Say whether this file, interpreter and configuration would work, without starting anything."""
    config, unknown_keys = load_config(os.path.join(home, "config.json"))
    if os.path.exists(os.path.join(home, "token")):
        read_token(os.path.join(home, "token"))
    policy, instance = config["policy"], config["instance"]
    words = [
        f"statusd {VERSION} ({own_build()}) on Python {sys.version.split()[0]}: ready",
        "instance  {} {} {}".format(instance["account"], instance["id"], instance["name"]),
        "lease     {}, hard {}, then {}".format(
            policy["lease_deadline"], policy["hard_deadline"], policy["lease_action"]
        ),
        "idle      {} s, then {}".format(policy["idle_timeout_s"], policy["idle_action"]),
        "end       {}".format(
            ", ".join(
                "{} by {}".format(rung, "+".join(step["method"] for step in config["end"][rung]))
                for rung in RUNGS
                if config["end"][rung]
            )
            or "none"
        ),
    ]
    if unknown_keys:
        words.append("unknown   {} (these keys do nothing)".format(", ".join(unknown_keys)))
    sys.stdout.write("\n".join(words) + "\n")
    return 0


USAGE = """usage: python statusd.py [--home DIR] [--foreground | --daemonize | --check | --stop | --version]

  --home DIR     the folder with config.json (default ~/.gpudash)
  --foreground   serve in this process (the default)
  --daemonize    serve in a process of its own; returns once it answers
  --check        check file, interpreter and configuration; start nothing
  --stop         end the statusd of that folder and wait for it
  --version      print the version and the build

exit codes: 0 done, 1 failed, 2 usage, 3 another statusd already runs there
"""


def parse_arguments(arguments: list[str]) -> tuple[str, str]:
    """The verb and the home folder; Problem with code 2 for anything else."""
    home, verb, rest = "~/.gpudash", "", list(arguments)
    while rest:
        word = rest.pop(0)
        if word.startswith("--home="):
            home = word[7:]
        elif word == "--home" and rest:
            home = rest.pop(0)
        elif word in ("--check", "--daemonize", "--foreground", "--stop", "--version", "--help", "-h") and not verb:
            verb = word
        else:
            raise Problem(f"unexpected argument {word}\n\n{USAGE}", 2)
    return verb or "--foreground", os.path.abspath(os.path.expanduser(home))


def main(arguments: list[str], code: CodeType) -> int:
    """Run one verb; the answer is the exit code."""
    os.umask(0o077)
    try:
        if sys.version_info < (3, 8):  # noqa: UP036 - the host's Python is whatever it is
            raise Problem(f"statusd needs Python 3.8 or later; this is {sys.version.split()[0]}")
        verb, home = parse_arguments(arguments)
        if verb in ("--help", "-h"):
            sys.stdout.write(USAGE)
            return 0
        if verb == "--version":
            sys.stdout.write(f"statusd {VERSION} ({own_build()})\n")
            return 0
        if verb == "--check":
            return check(home)
        if verb == "--stop":
            return stop_running(home)
        os.makedirs(home, mode=0o700, exist_ok=True)
        os.chmod(home, 0o700)
        return run_daemonized(home, code) if verb == "--daemonize" else run_foreground(home, code)
    except (Problem, OSError) as exc:
        sys.stderr.write(f"statusd: {exc}\n")
        return exc.code if isinstance(exc, Problem) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys._getframe().f_code))
