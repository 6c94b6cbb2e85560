"""The state file: written whole or not at all, through kill -9, a full disk and corruption."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Host, after, alarm_codes, until


def test_files_are_private(host: Host) -> None:
    """The home folder is 0700 and everything statusd writes there is 0600."""
    host.start()
    until((host.home / "statusd.log").exists, "state and log are written")
    modes = {path.name: path.stat().st_mode & 0o777 for path in host.home.iterdir()}
    assert {modes[name] for name in ("state.json", "run.json", "lock", "statusd.log", "token")} == {0o600}
    assert host.home.stat().st_mode & 0o777 == 0o700


def test_kill_9_in_the_middle_of_writes(host: Host) -> None:
    """Killed at any moment while it writes, the state is valid and no answered extension is lost."""
    host.configure(policy={"lease_deadline": after(600), "hard_deadline": None})
    promised = after(600)
    moments = random.Random(7)
    for life in range(8):
        host.start()
        assert host.status()["lease"]["deadline"] >= promised
        until((host.home / "state.json").exists, "the state is written")
        killer = threading.Timer(moments.uniform(0.0, 0.12), host.process.kill)  # type: ignore[union-attr]
        killer.start()
        try:
            for number in range(500):
                answer = host.post("/extend", {"seconds": 60, "key": f"{life}-{number}"}).json
                promised = answer["lease_deadline"] if answer["saved"] else promised
        except (OSError, ValueError, http.client.HTTPException):
            pass
        killer.join()
        host.process.wait()  # type: ignore[union-attr]
        assert host.state()["schema"] == 1
    host.start()
    status = host.status()
    assert status["lease"]["deadline"] >= promised
    assert not list(host.home.glob("state.json.corrupt-*"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": 1}',
        '{"schema": 2, "policy": {}}',
        '{"schema":1,"policy":{"lease_deadline":"x"}}',
        "\x00" * 999,
    ],
)
def test_corrupt_state_is_set_aside(host: Host, content: str) -> None:
    """Whatever the file holds, the daemon starts with the deadlines of config.json, keeps the file and says so."""
    (host.home / "state.json").write_text(content)
    host.start()
    status = host.status()
    assert (status["lease"]["deadline"], "state-corrupt" in alarm_codes(status)) == (after(4 * 3600), True)
    assert (host.home / "state.json.corrupt-1").read_text() == content


def test_damaged_inside_is_set_aside_too(host: Host) -> None:
    """A file that is JSON but holds nonsense further in is not half used."""
    host.start()
    host.stop()
    state = host.state()
    state["events"], state["idle"] = 7, "x"
    (host.home / "state.json").write_text(json.dumps(state))
    host.start()
    assert "state-corrupt" in alarm_codes(host.status())


def test_second_corrupt_state_keeps_the_first(host: Host) -> None:
    """Nothing that was set aside is overwritten."""
    for number in (1, 2):
        (host.home / "state.json").write_text(f"broken {number}")
        host.start()
        host.stop()
    assert (host.home / "state.json.corrupt-1").read_text() == "broken 1"
    assert (host.home / "state.json.corrupt-2").read_text() == "broken 2"


def test_state_alone_is_enough(host: Host) -> None:
    """With config.json gone or broken the last good one, kept in the state, is enforced."""
    host.start(policy={"lease_deadline": after(600)})
    until((host.home / "state.json").exists, "the state is written")
    host.stop()
    host.write_config("{")
    host.start()
    status = host.status()
    assert (status["lease"]["deadline"], "config" in alarm_codes(status)) == (after(600), True)
    host.pass_time(601)
    until(lambda: host.ended() == ["terminate"], "it ended all the same")


def test_broken_config_while_running_keeps_the_policy(host: Host) -> None:
    """A bad push is an alarm that names the field; the policy in force stays, and a good push ends the alarm."""
    host.start()
    host.write_config(json.dumps({**host.config, "policy": {"idle_timeout_s": "30m"}}))
    status = host.wait(lambda s: "config" in alarm_codes(s), "the alarm is on")
    assert status["lease"]["deadline"] == after(4 * 3600)
    assert any("policy.idle_timeout_s" in alarm["text"] for alarm in status["alarms"])
    host.configure(policy={"idle_timeout_s": 900})
    host.wait(lambda s: "config" not in alarm_codes(s), "the alarm is off")


@pytest.fixture
def tiny_disk(host: Host) -> Iterator[Path]:
    """A file system of 200 kB mounted over the home folder."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k,mode=700", "tmpfs", str(host.home)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    (host.home / "token").write_text("test-token-0123456789")
    yield host.home
    host.close()
    subprocess.run(["umount", "-l", str(host.home)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left."""
    hog = folder / "hog"
    try:
        with hog.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
    except OSError:
        return hog


def test_full_disk_keeps_the_old_state_and_enforces_from_memory(host: Host, tiny_disk: Path) -> None:
    """On a full disk an extension holds, is told as not saved, the old file stays whole, and space heals it."""
    host.start()
    until((tiny_disk / "state.json").exists, "the state is written")
    host.wait(lambda s: s["signals"], "it runs")
    before = host.state()["policy"]["lease_deadline"]
    hog = fill(tiny_disk)
    answer = host.post("/extend", {"seconds": 3600, "key": "k"}).json
    assert (answer["lease_deadline"], answer["saved"]) == (after(5 * 3600), False)
    host.wait(lambda s: "state-write" in alarm_codes(s), "the alarm is on")
    assert host.state()["policy"]["lease_deadline"] == before
    assert host.status()["lease"]["deadline"] == after(5 * 3600)
    hog.unlink()
    host.wait(lambda s: "state-write" not in alarm_codes(s), "the alarm is off")
    assert host.state()["policy"]["lease_deadline"] == before + 3600


def test_lease_ends_on_a_full_disk(host: Host, tiny_disk: Path) -> None:
    """The end does not need a disk."""
    host.start(policy={"lease_deadline": after(600)})
    host.wait(lambda s: s["signals"], "it runs")
    fill(tiny_disk)
    host.pass_time(601)
    until(lambda: host.ended() == ["terminate"], "the terminate command ran")


def test_unwritable_home_is_an_alarm(host: Host) -> None:
    """Where no file can be created any more (stand-in for a full disk without root), it goes on and says so."""
    host.start()
    until((host.home / "state.json").exists, "the state is written")
    blocker = host.home / "state.json.tmp"
    until(lambda: not blocker.exists(), "no write is under way")
    blocker.mkdir()
    (blocker / "x").touch()
    assert host.post("/extend", {"seconds": 60, "key": "k"}).json["saved"] is False
    host.wait(lambda s: "state-write" in alarm_codes(s), "the alarm is on")
    (blocker / "x").unlink()
    blocker.rmdir()
    host.wait(lambda s: "state-write" not in alarm_codes(s), "the alarm is off")


def test_log_is_bounded(host: Host) -> None:
    """The log is cut over before it grows large."""
    (host.home / "statusd.log").write_text("x" * 300_000)
    host.start()
    until((host.home / "statusd.log.1").exists, "it was cut over")
    assert (host.home / "statusd.log").stat().st_size < 10_000


def test_log_tells_each_event_once(host: Host) -> None:
    """A restart goes on with the log and does not tell the remembered events again."""
    for _ in range(2):
        host.start()
        host.stop()
    log = (host.home / "statusd.log").read_text()
    assert (log.count("serves on"), log.count("asked to stop")) == (2, 2)


def test_state_is_not_written_without_a_reason(host: Host) -> None:
    """Nothing happens, nothing is written: the disk of a rented machine is not worn by its guard."""
    host.start(policy={"idle_timeout_s": 1800}).settle()
    until(lambda: host.state()["idle"]["is_held"] is False, "the state is at rest")
    written = os.stat(host.home / "state.json").st_ino
    time.sleep(1.5)
    assert os.stat(host.home / "state.json").st_ino == written
