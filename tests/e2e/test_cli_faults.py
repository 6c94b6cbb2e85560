"""Each fault of the sandbox switched on, and what the command line says and ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.cli import Cli
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home with one armed instance called ``box``."""
    program = Cli(tmp_path_factory.mktemp("faults"))
    program.ok("launch", "--type", "1x-a10", "--name", "box", "--yes")
    yield program
    program.clean()


@pytest.fixture
def fault(cli: Cli) -> Iterator[Callable[[str], None]]:
    """Switches a fault on; off again when the test is over."""
    on: list[str] = []

    def switch(name: str) -> None:
        on.append(name)
        body = cli.ok("sandbox", "fault", name, "on")
        assert body["detail"] == f"{name} is on."

    yield switch
    for name in on:
        cli.ok("sandbox", "fault", name, "off")


def test_faults_are_listed(cli: Cli) -> None:
    """All twelve, with what they do."""
    names = [item["name"] for item in cli.ok("sandbox", "fault")["faults"]]
    words = "api-down api-slow rate-limit lost-reply no-capacity no-effect empty-list ssh-cut statusd-killed"
    assert " ".join(names) == f"{words} host-frozen sensor-broken spot-notice"
    assert "listings come back empty" in cli("sandbox", "fault").out


@pytest.mark.parametrize("name", ["api-down", "rate-limit"])
def test_cloud_that_does_not_answer(cli: Cli, fault: Callable[[str], None], name: str) -> None:
    """`ls` prints what it has, marks it, says why, and ends with 5; a launch asks for nothing."""
    fault(name)
    answer = cli("ls", "--json")
    assert answer.code == 5
    body = answer.doc
    assert [machine["name"] for machine in body["instances"]] == ["box"]
    (provider,) = body["providers"]
    assert provider["state"] in {"stale", "error"}
    assert provider["error"]
    assert "sandbox" in answer.err
    assert "running" in cli("ls").out
    before = cli.records()
    assert cli("launch", "--type", "1x-t4", "--yes").code == 5
    assert cli.records() == before


def test_slow_cloud_is_left_behind(cli: Cli, fault: Callable[[str], None]) -> None:
    """`ls` answers within its time-out with what it has."""
    fault("api-slow")
    answer = cli("ls", "--timeout", "1s", "--json", timeout=PATIENCE_S, env={"GPUDASH_SANDBOX_TIMEOUT": "600"})
    assert answer.code == 5
    assert answer.doc["instances"][0]["name"] == "box"


def test_empty_list_is_not_believed(cli: Cli, fault: Callable[[str], None]) -> None:
    """A sudden empty answer deletes nothing; exit 5."""
    fault("empty-list")
    answer = cli("ls", "--json")
    assert answer.code == 5
    assert [machine["name"] for machine in answer.doc["instances"]] == ["box"]


def test_no_capacity(cli: Cli, fault: Callable[[str], None]) -> None:
    """A definite no: exit 1, in words, and nothing is left over."""
    fault("no-capacity")
    answer = cli("launch", "--type", "1x-t4", "--name", "never", "--yes", "--json")
    assert answer.code == 1, answer
    assert answer.doc["ok"] is False
    assert [machine["name"] for machine in cli.ok("ls")["instances"]] == ["box"]


def test_lost_reply_makes_exactly_one(cli: Cli, fault: Callable[[str], None]) -> None:
    """The answer of the launch is lost; a listing finds the one instance, and it is armed."""
    fault("lost-reply")
    body = cli.ok("launch", "--type", "1x-t4", "--name", "once", "--yes")
    assert (body["proved"], body["instance"]["guard"]) == (True, "armed"), body["instance"]["guard_reason"]
    names = sorted(machine["name"] for machine in cli.ok("ls")["instances"])
    assert names == ["box", "once"]
    cli.ok("terminate", "once", "--yes")


def test_no_effect_is_still_billing_and_asked_again(cli: Cli, fault: Callable[[str], None]) -> None:
    """The cloud says yes and does nothing: exit 6, and the line says that it bills. Who looks later sees it settled."""
    fault("no-effect")
    answer = cli("stop", "box", "--yes", "--timeout", "1s", "--json")
    assert answer.code == 6, answer
    assert (answer.doc["ok"], answer.doc["proved"]) == (True, False)
    assert "still billing" in answer.doc["detail"]
    cli.ok("sandbox", "fault", "no-effect", "off")
    deadline = time.monotonic() + 2 * PATIENCE_S
    while cli.ok("show", "box")["instance"]["state"] != "stopped":
        assert cli("watchdog", "--once", "--enforce").code == 0
        assert time.monotonic() < deadline


def test_sensor_broken_never_looks_idle(cli: Cli, fault: Callable[[str], None]) -> None:
    """A daemon that cannot read its GPU says unknown, and unknown holds the host awake."""
    fault("sensor-broken")
    cli.ok("start", "box")
    deadline = time.monotonic() + 2 * PATIENCE_S
    while (body := cli.ok("show", "box"))["instance"]["idle_s"] is not None:
        assert time.monotonic() < deadline, body
    assert body["instance"]["idle_remaining_s"] is None
    assert "gpu unknown" in body["instance"]["awake_because"]
    assert "sensor-gpu" in {alarm["code"] for alarm in body["host"]["alarms"]}


def test_ssh_cut(cli: Cli, fault: Callable[[str], None]) -> None:
    """No link: exit 1 for what needs one, and the guard is no longer called armed."""
    fault("ssh-cut")
    answer = cli("tunnel", "box", "-L", "8000", "--timeout", "2s")
    assert answer.code == 1, answer
    assert answer.err.startswith("gpudash: ")


def test_statusd_killed(cli: Cli, fault: Callable[[str], None]) -> None:
    """A dead daemon is no guard: degraded or none, and the $/h at risk in the totals."""
    fault("statusd-killed")
    body = cli.ok("show", "box")
    assert body["instance"]["statusd"]["state"] in {"silent", "none"}
    assert body["instance"]["guard"] in {"degraded", "none"}
    assert body["host"]["problem"]


def test_frozen_host(cli: Cli, fault: Callable[[str], None]) -> None:
    """`ls` comes back although the host does not answer."""
    fault("host-frozen")
    assert cli("ls", timeout=PATIENCE_S).code == 0


def test_spot_notice(cli: Cli, fault: Callable[[str], None]) -> None:
    """What the cloud announces is shown."""
    cli.ok("launch", "--type", "1x-t4", "--spot", "--name", "spotty", "--yes")
    fault("spot-notice")
    assert "notice" in cli("show", "spotty").out


def test_end_that_cannot_be_asked_for(cli: Cli, fault: Callable[[str], None]) -> None:
    """The cloud is out of reach: exit 5, it still bills, and the wish is kept in the ledger."""
    fault("api-down")
    answer = cli("terminate", "spotty", "--yes", "--timeout", "1s", "--json")
    assert answer.code == 5, answer
    assert (answer.doc["ok"], answer.doc["proved"]) == (False, False)
    assert "still billing" in answer.doc["detail"]
    assert cli("ls", "--json").doc["instances"]
