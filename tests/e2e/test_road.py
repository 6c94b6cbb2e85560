"""The main job once, in a real terminal: every key of it, and after each step the command line agrees with the screen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpudash import paths
from tests.support.terminal import Terminal
from tests.support.waiting import PATIENCE_S

GPUDASH = [sys.executable, "-m", "gpudash"]
NAME = "t4-1"

pytestmark = [pytest.mark.needs("tmux", "ssh")]


@pytest.fixture(autouse=True)
def sandbox() -> Iterator[None]:
    """One stranger's host, so that the demo launches none of its own; nothing is left afterwards."""
    gpudash("sandbox", "up", "1")
    yield
    gpudash("sandbox", "reset")


def gpudash(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a script would."""
    return subprocess.run([*GPUDASH, *words], text=True, capture_output=True, timeout=2 * PATIENCE_S, check=False)


def listed() -> dict[str, Any] | None:
    """Our instance in `gpudash ls --json`, or None where it is not listed."""
    done = gpudash("ls", "--json")
    assert done.returncode == 0, done.stderr
    return next((item for item in json.loads(done.stdout)["instances"] if item["name"] == NAME), None)


def agrees(holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until what `ls` says of our instance holds; a screen is at most one poll ahead of it."""
    end = time.monotonic() + PATIENCE_S
    while True:
        item = listed()
        if item is not None and holds(item):
            return item
        assert time.monotonic() < end, item
        time.sleep(0.2)


def told_by_statusd(instance_id: str) -> dict[str, Any]:
    """What the daemon on the host says itself, asked on its own port with its own token."""
    home = paths.sandbox_dir() / "hosts" / instance_id / "home" / ".gpudash"
    port = json.loads((home / "run.json").read_text())["port"]
    token = (home / "token").read_text().strip()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_the_whole_road(tmp_path: Path) -> None:
    """Launch, guard, extend, tunnel, stop, start and terminate by key; screen, statusd and `ls` say the same."""
    with Terminal([*GPUDASH, "demo"], folder=tmp_path) as screen:
        screen.wait_for(r"n launch")
        screen.wait_for(r"running")

        screen.press("n")
        screen.wait_for(r"\d+ offers")
        screen.type("1x-t4")
        screen.wait_for(r"\b6 of \d+\b")
        screen.wait_for(rf"name\s+{NAME}")
        screen.press("Enter")
        screen.wait_for(r"Enter launch")
        screen.press("Enter")
        screen.wait_for(rf"{NAME} is up and guarded")
        first = agrees(lambda item: item["state"] == "running" and item["guard"] == "armed")

        screen.press("Escape")
        screen.wait_for(r"STATE\s+GUARD")
        screen.press("/")
        screen.wait_for(r"column:value")
        screen.type(NAME)
        screen.press("Enter")
        screen.wait_until(
            lambda text: NAME in text and "notebook" not in text and "train-llama" not in text, "only ours"
        )

        screen.press("p")
        screen.wait_for(rf"{NAME} runs statusd; the policy was read back")
        screen.wait_for(rf"running\s+● armed\s+{NAME}")

        screen.press("+")
        screen.wait_for(rf"Extend {NAME}")
        screen.press("Enter")
        screen.wait_gone(rf"Extend {NAME}")
        later = agrees(lambda item: item["lease_deadline"] > first["lease_deadline"])
        assert told_by_statusd(first["id"])["lease"]["deadline"] == later["lease_deadline"]
        assert later["guard"] == "armed"

        screen.press("t")
        tunnels = agrees(lambda item: [t["state"] for t in item["tunnels"]] == ["up"])["tunnels"]
        with urllib.request.urlopen(f"http://127.0.0.1:{tunnels[0]['local']}/health", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        screen.wait_for(r"→ 127\.0\.0\.1:\d+|tunnel")

        screen.press("x")
        screen.wait_for(rf"Stop {NAME}\?")
        screen.press_focus("Tab", r"Stop\s.*Cancel|Cancel\s.*Stop")
        screen.press("Enter")
        screen.wait_for(rf"stopped\s+.*{NAME}")
        assert agrees(lambda item: item["state"] == "stopped")["guard"] is None

        screen.press("r")
        screen.wait_for(rf"running\s+● armed\s+{NAME}")
        agrees(lambda item: item["state"] == "running" and item["guard"] == "armed")

        screen.press("X")
        screen.wait_for(rf"Terminate {NAME}\?")
        screen.type(NAME)
        screen.wait_for(rf"to confirm\s+{NAME}")
        screen.press_focus("Enter", r"Terminate\s.*Cancel|Cancel\s.*Terminate")
        screen.press("Enter")
        screen.wait_gone(rf"Terminate {NAME}\?")
        screen.wait_gone(rf"(armed|NONE|terminating).*{NAME}")
        item = listed()
        assert item is None or item["state"] == "terminated"

        screen.press("q")
        assert screen.exit_status() == 0


def test_hosts_end_by_themselves_with_the_dashboard_closed(tmp_path: Path) -> None:
    """At sixty times the speed a lease runs out and an idle host stops, and nobody looks."""
    with Terminal([*GPUDASH, "demo", "--speed", "60"], folder=tmp_path) as screen:
        screen.wait_for(r"sandbox ×60")
        screen.wait_for(r"running")
        for name, limits in (("leased", ["--lease", "25m"]), ("idler", ["--lease", "8h", "--idle", "12m"])):
            done = gpudash("launch", "--type", "1x-t4", "--name", name, "--idle-action", "stop", *limits, "--yes")
            assert done.returncode == 0, done.stderr
        screen.press("q")
        assert screen.exit_status() == 0
    end = time.monotonic() + 2 * PATIENCE_S
    while (states := {item["name"]: item["state"] for item in everything()}).get(
        "idler"
    ) != "stopped" or "leased" in states:
        assert time.monotonic() < end, states
        time.sleep(0.5)


def everything() -> list[dict[str, Any]]:
    """All that `ls` lists."""
    return json.loads(gpudash("ls", "--json").stdout)["instances"]
