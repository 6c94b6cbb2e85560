"""One instance from launch to end through the real command line, every document checked field by field."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpudash.clock import parse_iso
from tests.support.cli import Cli
from tests.support.waiting import PATIENCE_S

INSTANCE = {
    "account": str, "provider": str, "region": str, "id": str, "name": str, "state": str, "provider_state": str,
    "instance_type": str, "gpu": str, "gpu_count": int, "vram_gb": int, "spot": bool, "managed": bool,
    "created_at": "time", "started_at": "time", "price_usd_per_hour": "money", "storage_usd_per_hour": "money",
    "accrued_usd": "money", "projected_usd": "money", "lease_deadline": "time", "lease_remaining_s": int,
    "hard_deadline": "time", "idle_s": int, "idle_timeout_s": int, "idle_remaining_s": int, "idle_action": str,
    "awake_because": str, "ends_at": "time", "ends_why": str, "guard": str, "guard_reason": str, "statusd": dict,
    "ssh": dict, "tunnels": list, "as_of": "time", "stale": bool,
}  # fmt: skip
"""Every field of the contract, in its order; any value may be null but these."""
NEVER_NULL = {"account", "provider", "region", "id", "state", "spot", "managed", "statusd", "tunnels", "as_of", "stale"}
STATES = {
    "pending", "starting", "running", "stopping", "stopped", "hibernated", "terminating", "terminated", "error",
    "unknown",
}  # fmt: skip
ANSWER = ["action", "account", "id", "ok", "proved", "detail", "instance"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def check_instance(body: dict[str, Any]) -> None:
    """Every field is there, in order, of its type and unit."""
    assert list(body) == list(INSTANCE)
    for name, kind in INSTANCE.items():
        value = body[name]
        if value is None:
            assert name not in NEVER_NULL, name
        elif kind == "time":
            assert TIME.fullmatch(value), (name, value)
        elif kind == "money":
            assert isinstance(value, int | float), (name, value)
            assert not isinstance(value, bool)
        else:
            assert type(value) is kind, (name, value)
    assert body["state"] in STATES
    assert body["guard"] in {"armed", "degraded", "none", None}
    assert body["idle_action"] in {"stop", "hibernate", "terminate", None}
    assert body["ends_why"] in {"lease", "hard", "idle", "parked", None}
    assert list(body["statusd"]) == ["state", "version", "seen_at"]
    if body["ssh"] is not None:
        assert list(body["ssh"]) == ["host", "port", "user"]
    for tunnel in body["tunnels"]:
        assert list(tunnel) == ["remote", "local", "state"]


def check_answer(body: dict[str, Any], action: str, key: str | None = None) -> None:
    """The document of an action."""
    assert list(body)[: len(ANSWER)] == ANSWER
    assert body["action"] == action
    if key is not None:
        assert f"{body['account']}:{body['id']}" == key
    if body["instance"] is not None:
        check_instance(body["instance"])


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One home for the whole life."""
    program = Cli(tmp_path_factory.mktemp("life"))
    yield program
    program.clean()


@pytest.fixture(scope="module")
def launched(cli: Cli) -> dict[str, Any]:
    """The answer of the launch that all steps go on from."""
    return cli.ok("launch", "--type", "1x-a10", "--name", "life", "--lease", "2h", "--idle", "20m", "--yes")


def only(cli: Cli) -> dict[str, Any]:
    """The one instance of `ls --json`."""
    body = cli.ok("ls")
    assert list(body) == ["as_of", "instances", "providers", "totals"]
    (instance,) = body["instances"]
    check_instance(instance)
    return dict(instance)


def test_launch_ends_armed(launched: dict[str, Any]) -> None:
    """Exit 0 means that the policy was read back from the live daemon."""
    check_answer(launched, "launch")
    assert (launched["ok"], launched["proved"]) == (True, True)
    machine = launched["instance"]
    assert (machine["name"], machine["state"], machine["guard"]) == ("life", "running", "armed")
    assert (machine["managed"], machine["idle_timeout_s"], machine["idle_action"]) == (True, 1200, "stop")
    assert 7000 < machine["lease_remaining_s"] <= 7200
    assert machine["statusd"]["state"] == "ok"


def test_ls_agrees(cli: Cli, launched: dict[str, Any]) -> None:
    """`ls` shows what the launch answered, with the health of the account and the sums."""
    body = cli.ok("ls")
    assert [list(provider) for provider in body["providers"]] == [["account", "state", "as_of", "error"]]
    assert (body["providers"][0]["account"], body["providers"][0]["state"]) == ("sandbox", "ok")
    (machine,) = body["instances"]
    check_instance(machine)
    for field in ("id", "name", "state", "guard", "lease_deadline", "hard_deadline", "price_usd_per_hour"):
        assert machine[field] == launched["instance"][field]
    totals = body["totals"]
    assert totals["by_state"] == {"running": 1}
    assert totals["burn_usd_per_hour"] == pytest.approx(
        machine["price_usd_per_hour"] + (machine["storage_usd_per_hour"] or 0)
    )
    assert totals["unguarded_usd_per_hour"] == 0


def test_table_and_details_for_people(cli: Cli, launched: dict[str, Any]) -> None:
    """The table has its columns and the instance; `show` adds what the host says."""
    table = cli("ls")
    assert table.code == 0
    assert table.out.split("\n")[0].split() == (
        ["STATE", "GUARD", "NAME", "ACCOUNT", "GPU", "UTIL", "$/H", "SPENT", "IDLE", "LEASE", "ENDS", "TUN", "ID"]
    )
    assert re.search(r"running +armed +life +sandbox", table.out)
    details = cli("show", "life").out
    assert f"sandbox:{launched['id']}" in details
    assert "guard     armed" in details
    body = cli.ok("show", launched["id"])
    check_instance(body["instance"])
    assert {"gpu", "ssh"} <= {signal["name"] for signal in body["host"]["signals"]}


def test_push_again_changes_nothing(cli: Cli, launched: dict[str, Any]) -> None:
    """An unchanged daemon is proved, not replaced."""
    body = cli.ok("push", "life")
    check_answer(body, "push", f"sandbox:{launched['id']}")
    assert body["proved"]
    assert body["instance"]["guard"] == "armed"


def test_extend_moves_the_deadline_that_the_host_enforces(cli: Cli, launched: dict[str, Any]) -> None:
    """The new deadline is the daemon's own, one hour on."""
    before = parse_iso(launched["instance"]["lease_deadline"])
    body = cli.ok("extend", f"sandbox:{launched['id']}", "1h")
    check_answer(body, "extend", f"sandbox:{launched['id']}")
    assert (parse_iso(body["instance"]["lease_deadline"]) - before).total_seconds() == 3600
    assert body["instance"]["guard"] == "armed"
    assert only(cli)["lease_deadline"] == body["instance"]["lease_deadline"]


def test_keepalive(cli: Cli, launched: dict[str, Any]) -> None:
    """Held awake, and the lease stays."""
    lease = only(cli)["lease_deadline"]
    body = cli.ok("keepalive", launched["id"][:6], "45m")
    check_answer(body, "keepalive")
    assert body["instance"]["lease_deadline"] == lease


def test_ssh_is_the_real_one(cli: Cli, launched: dict[str, Any]) -> None:
    """Output and exit code are the command's own."""
    answer = cli("ssh", "life", "--", "echo", "over", "ssh;", "exit", "7")
    assert (answer.code, answer.out) == (7, "over ssh\n"), answer
    assert not (cli.home / ".ssh").exists()


def test_tunnel_in_the_foreground(cli: Cli, launched: dict[str, Any]) -> None:
    """The document comes once the forward is up; a GET goes through; SIGINT ends it and frees the port."""
    process = cli.start("tunnel", "life", "-L", "8000", "--json")
    assert process.stdout is not None
    try:
        body = json.loads("".join(iter(lambda: process.stdout.readline(), "}\n")) + "}")
        check_answer(body, "tunnel", f"sandbox:{launched['id']}")
        (forward,) = body["tunnels"]
        assert (forward["remote"], forward["state"]) == (8000, "up")
        assert get(forward["local"], "/health") == 200
        assert only(cli)["tunnels"] == [forward]
        (seen,) = cli.ok("tunnel", "ls")["tunnels"]
        assert (seen["owner"], seen["pid"], seen["name"]) == ("cli", process.pid, "life")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert cli.ok("tunnel", "ls")["tunnels"] == []


def test_busy_local_port_is_named(cli: Cli, launched: dict[str, Any]) -> None:
    """A port that somebody else has is refused with its number, and nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = cli("tunnel", "life", "-L", f"{port}:8000")
    assert answer.code == 1
    assert str(port) in answer.err
    assert cli.ok("tunnel", "ls")["tunnels"] == []


def test_tunnel_detached_and_closed(cli: Cli, launched: dict[str, Any]) -> None:
    """A supervisor holds it after the command has left; `tunnel close` ends it."""
    body = cli.ok("tunnel", "life", "-L", "8000", "--detach")
    check_answer(body, "tunnel")
    (forward,) = body["tunnels"]
    assert get(forward["local"], "/health") == 200
    closed = cli.ok("tunnel", "close", "life")
    assert closed["tunnels"][0]["local"] == forward["local"]
    with pytest.raises(OSError):  # noqa: PT011 — refused, by whatever name
        get(forward["local"], "/health")


def test_stop_is_proved(cli: Cli, launched: dict[str, Any]) -> None:
    """Stopped, no compute billed; again is a success that changes nothing."""
    body = cli.ok("stop", "life", "--yes")
    check_answer(body, "stop", f"sandbox:{launched['id']}")
    assert (body["instance"]["state"], body["instance"]["guard"]) == ("stopped", None)
    assert body["instance"]["ends_at"] is None
    again = cli.ok("stop", "life", "--yes")
    assert "already" in again["detail"]
    assert cli("keepalive", "life").code == 4
    assert cli("ssh", "life", "--", "true").code == 1


def test_leftover_is_the_stopped_disk(cli: Cli, launched: dict[str, Any]) -> None:
    """A stopped instance leaves a disk that bills."""
    (disk,) = cli.ok("leftovers")["leftovers"]
    assert (disk["instance_id"], disk["account"]) == (launched["id"], "sandbox")
    assert disk["price_usd_per_hour"] > 0


def test_ready_starts_it_and_prints_where(cli: Cli, launched: dict[str, Any]) -> None:
    """Started, reachable through a tunnel that is kept, and the URL alone on stdout."""
    answer = cli("ready", "life", "--timeout", "1m")
    assert answer.code == 0, answer
    url = answer.out.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert get(int(url.rsplit(":", 1)[1]), "/health") == 200
    body = cli.ok("ready", "life")
    check_answer(body, "ready", f"sandbox:{launched['id']}")
    assert body["url"] == url


def test_programs_that_want_it_at_once_start_it_once(cli: Cli, launched: dict[str, Any]) -> None:
    """Whoever comes second waits for the first and gets the same answer."""
    cli.ok("stop", "life", "--yes")
    starts = len([event for event in cli.ok("events")["events"] if event["text"] == "asked to start life"])
    asked = [cli.start("ready", "life", "--timeout", "1m") for _ in range(3)]
    said = [process.communicate(timeout=2 * PATIENCE_S) for process in asked]
    assert [process.returncode for process in asked] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert sum("another gpudash is bringing life up" in err for _, err in said) >= 1
    events = cli.ok("events")["events"]
    assert len([event for event in events if event["text"] == "asked to start life"]) == starts + 1


def test_start_of_a_running_one_is_a_success(cli: Cli, launched: dict[str, Any]) -> None:
    """Asking for what is so already changes nothing."""
    body = cli.ok("start", "life")
    check_answer(body, "start", f"sandbox:{launched['id']}")
    assert body["instance"]["state"] == "running"


def test_terminate_is_proved_and_leaves_nothing(cli: Cli, launched: dict[str, Any]) -> None:
    """Gone from the list, its tunnels closed, its cost kept."""
    body = cli.ok("terminate", "life", "--yes")
    check_answer(body, "terminate", f"sandbox:{launched['id']}")
    assert body["proved"]
    assert cli.ok("ls")["instances"] == []
    assert cli.ok("tunnel", "ls")["tunnels"] == []
    assert cli("show", "life").code == 3


def test_events_and_costs_tell_the_life(cli: Cli, launched: dict[str, Any]) -> None:
    """The diary has every step by whose hand; the money stays after the end."""
    events = cli.ok("events")["events"]
    assert [list(event) for event in events[:1]] == [["at", "kind", "text", "account", "id", "name", "actor"]]
    assert {"launch", "extend", "stop", "start", "terminate"} <= {event["kind"] for event in events}
    assert "cli" in {event["actor"] for event in events}
    assert all(event["id"] in (None, launched["id"]) for event in cli.ok("events", "life")["events"])
    costs = cli.ok("costs")
    (mine,) = costs["instances"]
    assert (mine["id"], mine["name"]) == (launched["id"], "life")
    assert mine["total_usd"] > 0
    assert costs["total_usd"] == pytest.approx(mine["total_usd"])
    assert "life" in cli("costs").out


def get(port: int, path: str) -> int:
    """The status of a GET through a local port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return int(answer.status)


def test_paths_exist(cli: Cli) -> None:
    """Ledger and keys are for the owner alone."""
    assert (cli.state / "ledger.db").stat().st_mode & 0o077 == 0
    assert Path(cli.state).stat().st_mode & 0o077 == 0
