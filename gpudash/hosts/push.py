"""Puts statusd on a host and proves that it runs there; a build that does not is taken back.

    probe      one look: Python, systemd, what runs, what stands there; where all is as wanted, nothing is touched
    install    one program on the host (`installer`): files, hash, --check, swap `current`, stop old, start new, or back
    health     asked from here, through the link, until the wanted version and build answer; else back

Configuration alone is replaced without a restart: statusd reads it again by itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from gpudash.errors import HostError, LinkDown, NoService, PushFailed, StatusdError
from gpudash.hosts.client import ask_health
from gpudash.hosts.link import Link
from gpudash.hosts.probe import Sight, probe
from gpudash.hosts.unit import unit_text

HEALTH_S = 20.0
"""How long the new build has to answer through the link; a busy host starts a program slowly."""

INSTALL_S = 120.0
"""For the program on the host: stopping a daemon that hangs, a failed start and the way back all fit in."""


@dataclass(frozen=True, slots=True)
class Program:
    """One build of statusd."""

    source: bytes
    version: str

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def build(self) -> str:
        """What it calls itself: the first 12 digits of its hash."""
        return self.sha256[:12]

    @property
    def release(self) -> str:
        """Its file name on a host."""
        return f"statusd-{self.version}-{self.build}.py"


@dataclass(frozen=True, slots=True)
class PushResult:
    """What answers on the host now."""

    version: str
    build: str
    changed: bool
    """Something was written or started; False where all was as wanted."""
    took_s: float
    comes_back: str | None = None
    """What starts it again when the host restarts: ``systemd``, or the start script of the container. None where
    nothing does, and where nothing was written."""


def own_program() -> Program:
    """The statusd of this gpudash."""
    return program(files("gpudash").joinpath("statusd.py").read_bytes())


def program(source: bytes) -> Program:
    """A build from its source.

    Raises:
        PushFailed: it names no version.
    """
    version = re.search(rb'^VERSION = "([\w.+-]+)"', source, re.MULTILINE)
    if version is None:
        raise PushFailed("This statusd.py names no version.")
    return Program(source, version.group(1).decode())


def push(
    link: Link,
    config: Mapping[str, Any],
    *,
    progress: Callable[[str], None] | None = None,
    wanted: Program | None = None,
    account_key: str | None = None,
) -> PushResult:
    """Bring a host to this build and configuration.

    Args:
        link: the way there.
        config: the host's ``config.json``.
        progress: told each step in a few words, from the thread of the caller.
        wanted: another build than our own.
        account_key: written to ``account.key`` (0600) for the ``end`` steps that name it; None takes an older one away.

    Raises:
        PushFailed: it does not run; what ran before runs again, and the text says so.
        LinkDown: the connection broke; a push again finds out how far it came.
    """
    begun = link.clock.monotonic()
    build = wanted or own_program()
    text = json.dumps(config, indent=1, sort_keys=True) + "\n"
    tell = progress or (lambda step: None)
    tell("looking at the host")
    sight = probe(link)
    right_build = _is_healthy(link, sight, build)
    same_config = sight.config == _digest(text)
    same_key = sight.account_key == (None if account_key is None else _digest(account_key + "\n"))
    changed = not (right_build and same_config and same_key and sight.token)
    comes_back: str | None = None
    if changed:
        verb = "config" if right_build and sight.token else "install"
        tell("writing its limits" if verb == "config" else f"starting statusd {build.version} ({build.build})")
        order = {**_order(verb, sight, build, text), "account_key": account_key}
        report = _install(link, sight, order)
        comes_back = report.get("comes_back")
        if verb == "install":
            tell("waiting for its answer")
            _await_health(link, sight, order, report, build)
    return PushResult(build.version, build.build, changed, link.clock.monotonic() - begun, comes_back)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_healthy(link: Link, sight: Sight, build: Program) -> bool:
    if not sight.running or sight.port is None or (sight.build, sight.current) != (build.build, build.sha256):
        return False
    try:
        return _answers(ask_health(link, sight.port, 5.0), build)
    except (NoService, StatusdError):
        return False


def _answers(health: Mapping[str, Any], build: Program) -> bool:
    return bool(health.get("ok")) and (health.get("version"), health.get("build")) == (build.version, build.build)


def _order(verb: str, sight: Sight, build: Program, config: str) -> dict[str, Any]:
    packed = None
    if build.release not in sight.releases or sight.current != build.sha256:
        packed = base64.b64encode(zlib.compress(build.source, 6)).decode()
    unit = unit_text(uid=sight.uid, python=sight.python, home=sight.home) if sight.can_use_systemd else None
    return {
        "verb": verb,
        "home": sight.home,
        "root": sight.root,
        "release": build.release,
        "build": build.build,
        "sha256": build.sha256,
        "source": packed,
        "config": config,
        "token": secrets.token_hex(32),
        "unit": unit,
        "sudo": [] if sight.uid == 0 else ["sudo", "-n"],
        "before": None,
        "config_before": None,
        "key_before": None,
    }


def _install(link: Link, sight: Sight, order: Mapping[str, Any]) -> dict[str, Any]:
    script = files("gpudash.hosts").joinpath("installer.py").read_text()
    # Everything travels on stdin: what stands in argv can be read by every user of the host.
    told = link.exec(f"'{sight.python}' -I -S -", timeout=INSTALL_S, stdin=f"{script}\n\nmain({order!r})\n".encode())
    try:
        report: dict[str, Any] = json.loads(told.text.strip().splitlines()[-1])
    except (ValueError, IndexError) as exc:
        raise PushFailed(f"The push to {link.name} broke off: {told.complaint}") from exc
    if not report["ok"]:
        raise PushFailed(f"statusd was not put on {link.name}: {report['error']}.", hint=_what_runs(sight, report))
    return report


def _what_runs(sight: Sight, report: Mapping[str, Any]) -> str:
    if not sight.running and not report.get("before"):
        return "Nothing ran there before, and nothing runs now."
    if not report.get("touched"):
        return "What ran before was not touched."
    return "What ran before runs again." if report.get("restored") else "Nothing runs there now; push again."


def _await_health(link: Link, sight: Sight, order: dict[str, Any], report: Mapping[str, Any], build: Program) -> None:
    clock = link.clock
    until = clock.monotonic() + HEALTH_S
    problem = "it did not answer"
    while clock.monotonic() < until:
        try:
            health = ask_health(link, int(report["port"]), 5.0)
        except NoService:
            problem = "it ended right after its start"
            if not probe(link).running:
                break
        except StatusdError as exc:
            problem = exc.text
        except (LinkDown, HostError):
            # Whether it runs cannot be told from here; the host's own check said that it does.
            raise
        else:
            if _answers(health, build):
                return
            problem = f"it says of itself: {health}"
        clock.sleep(0.1)
    back = {**order, "verb": "back", **{name: report[name] for name in ("before", "config_before", "key_before")}}
    restored = _install(link, sight, {**back, "source": None})
    raise PushFailed(f"statusd on {link.name} is not well: {problem}.", hint=_what_runs(sight, restored))
