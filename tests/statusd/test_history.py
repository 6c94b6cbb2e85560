"""What a host remembers: every signal once a minute, and the last lines of its log."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import TOKEN, Host, after, until

IDLE = {"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 86400}


def history(host: Host) -> dict[str, Any]:
    answer = host.get("/history")
    assert answer.status == 200, answer.body
    return dict(answer.json)


def declared(host: Host) -> str:
    return str(history(host)["signals"]["declared"]["verdicts"])


def test_a_minute_holds_the_strongest_verdict(host: Host) -> None:
    """Active once in a minute makes the minute active; the next one starts afresh."""
    host.start(policy=IDLE).settle()
    host.post("/activity")
    until(lambda: declared(host) == "a", "this minute is active")
    host.pass_time(60)
    until(lambda: declared(host) == "ai", "the next is idle")
    document = history(host)
    assert document["minutes"] == [after(0), after(60)]
    assert document["step_s"] == 60


def test_values_come_with_their_unit(host: Host) -> None:
    """A curve needs numbers: the highest of each minute, unknown as null."""
    host.start(policy=IDLE, ignore_signals=["net", "disk", "ssh"]).settle()
    cpu = host.wait(lambda s: s["signals"][2]["value"] is not None, "cpu was read") and history(host)["signals"]["cpu"]
    assert (cpu["unit"], cpu["values"][0] >= 0) == ("%", True)
    assert history(host)["signals"]["files"]["values"] == [None]


def test_minutes_without_a_look_are_missing(host: Host) -> None:
    """A gap is a gap, not a row of zeros."""
    host.start(policy=IDLE).settle()
    host.pass_time(600)
    until(lambda: history(host)["minutes"] == [after(0), after(600)], "two minutes, ten apart")


def test_history_survives_a_crash_and_is_bounded(host: Host) -> None:
    """After kill -9 the closed minutes are there again; six hours are kept and no more."""
    host.start(policy=IDLE).settle()
    host.pass_time(60)
    until(lambda: len(history(host)["minutes"]) == 2, "a minute is over")
    until(lambda: (host.home / "history").stat().st_size > 100, "it is on the disk")
    host.kill()
    host.start().settle()
    until(lambda: history(host)["minutes"] == [after(0), after(60)], "it goes on")
    host.kill()
    host.pass_time(7 * 3600)
    host.start().settle()
    assert len(history(host)["minutes"]) == 1


@pytest.mark.parametrize("content", [b"", b"other signals\nxxxx", b"\xff" * 5000])
def test_broken_history_is_no_trouble(host: Host, content: bytes) -> None:
    """Whatever stands in the file, the host starts, and the file is sound again."""
    (host.home / "history").write_bytes(content)
    host.start(policy=IDLE).settle()
    until(lambda: (host.home / "history").read_bytes().startswith(b"gpu gpu_mem cpu"), "it was made anew")


def test_log_gives_the_last_lines(host: Host) -> None:
    """As in the file, over restarts, newest last."""
    host.start(policy=IDLE).settle()
    log = host.home / "statusd.log"
    until(lambda: log.exists() and log.read_text().splitlines() == host.get("/log").json["lines"], "it is on the disk")
    host.kill()
    host.start()
    lines = host.get("/log").json["lines"]
    assert [line.split()[1] for line in lines if "start" in line] == ["start", "start"]
    assert host.get("/log?lines=1").json["lines"] == lines[-1:]
    until(lambda: log.read_text().splitlines() == lines, "the file says the same")


@pytest.mark.parametrize("query", ["lines=0", "lines=x", "lines=201", "lines="])
def test_log_refuses_a_senseless_number(host: Host, query: str) -> None:
    """The answer names the field."""
    host.start(policy=IDLE)
    answer = host.get(f"/log?{query}")
    assert (answer.status, answer.json["field"]) == (400, "lines")


def test_history_and_log_need_the_token(host: Host) -> None:
    """What a host did is not for everybody."""
    host.start(policy=IDLE)
    for path in ("/history", "/log"):
        assert host.get(path, token=None).status == 401
        assert host.get(path, token=TOKEN).status == 200


def test_request_of_a_service_keeps_the_host_awake(host: Host) -> None:
    """The service touches its file; that is activity, once, and the file need not be there at first."""
    touched = host.home.parent / "last-request"
    host.start(policy={**IDLE, "idle_timeout_s": 600}, last_request_file=str(touched)).settle()
    assert host.signal("requests")["detail"] == "no request yet"
    host.pass_time(300)
    host.wait(lambda s: s["idle"]["idle_s"] == 300, "idle")
    touched.touch()
    host.wait(lambda s: s["idle"]["idle_s"] == 0 and s["signals"][6]["last_active_at"] == after(300), "awake")
    host.pass_time(500)
    host.wait(lambda s: s["idle"]["idle_s"] == 500, "idle again, from the request on")
