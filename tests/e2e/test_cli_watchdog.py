"""The watchdog as a process over the real sandbox: dry run, enforcement, cap, and no action when unsure (promise 8)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.waiting import PATIENCE_S

OVERDUE = 3 * 3600.0


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Two managed hosts whose lease of an hour ended long ago, one of a stranger, and one whose lease still runs.

    Their own daemons are dead: what is left is the watchdog.
    """
    program = Cli(tmp_path_factory.mktemp("watchdog"))
    for name, lease in (("late-1", "1h"), ("late-2", "1h"), ("young", "20h")):
        answer = program("launch", "--type", "1x-t4", "--name", name, "--lease", lease, "--yes", "--no-wait")
        assert answer.code == 6, answer
    yield program
    program.clean()


@pytest.fixture(scope="module")
def late(cli: Cli) -> Cli:
    """Three hours later, by the sandbox's clock."""
    cli.ok("sandbox", "fault", "statusd-killed", "on")
    jump(cli, OVERDUE)
    cli.ok("ls")  # known from now on: an empty answer is sudden
    return cli


def jump(cli: Cli, seconds: float) -> None:
    """Move the sandbox's clock on."""
    path = cli.state / "sandbox" / "clock.json"
    try:
        body = json.loads(path.read_text())
    except FileNotFoundError:
        body = {"real0": 0.0, "virtual0": 0.0, "speed": 1.0}
    path.write_text(json.dumps({**body, "virtual0": body["virtual0"] + seconds}))


def names(cli: Cli, state: str) -> list[str]:
    """Who is in that state."""
    return sorted(machine["name"] for machine in cli.ok("ls")["instances"] if machine["state"] == state)


def look(cli: Cli, *words: str) -> tuple[int, dict[str, Any]]:
    """One look, as its exit code and document."""
    answer = cli("watchdog", "--once", "--json", *words)
    return answer.code, answer.doc


def kinds(body: dict[str, Any]) -> list[tuple[str, str | None]]:
    """What was said, in short."""
    return [(line["kind"], line["name"]) for line in body["lines"]]


def test_dry_run_tells_and_ends_nothing(late: Cli) -> None:
    """Both overdue hosts are named with deadline and price; all three still run; exit 0."""
    code, body = look(late)
    assert code == 0, body
    assert sorted(kinds(body)) == [("would-end", "late-1"), ("would-end", "late-2")]
    line = body["lines"][0]
    assert (line["action"], line["limit"]) == ("terminate", "lease")
    assert line["overdue_s"] > 3600
    assert line["price_usd_per_hour"] > 0
    assert names(late, "running") == ["late-1", "late-2", "young"]


def test_people_read_sentences(late: Cli) -> None:
    """One line each, and a sum that says that it was a dry run."""
    out = late("watchdog", "--once").out
    assert "would terminate late-1" in out
    assert "dry run, --enforce acts" in out.splitlines()[-1]


@pytest.mark.parametrize("fault", ["api-down", "empty-list"])
def test_unsure_is_no_action(late: Cli, fault: str) -> None:
    """A list that fails, or is suddenly empty: nothing is ended even with --enforce; an alarm, exit 5."""
    late.ok("sandbox", "fault", fault, "on")
    try:
        code, body = look(late, "--enforce")
    finally:
        late.ok("sandbox", "fault", fault, "off")
    assert code == 5, body
    assert {kind for kind, _ in kinds(body)} == {"alarm"}
    assert body["summary"]["ended"] == 0
    assert names(late, "running") == ["late-1", "late-2", "young"]


def test_settings_outage_is_no_action(late: Cli) -> None:
    """Broken settings: exit 2 and nothing is ended."""
    late.config("[defaults]\nlease = 5\n")
    try:
        assert late("watchdog", "--once", "--enforce").code == 2
    finally:
        late.config_file.unlink()
    assert names(late, "running") == ["late-1", "late-2", "young"]


def test_ledger_outage_is_no_action(late: Cli) -> None:
    """A ledger that cannot be opened: exit 1 and nothing is ended."""
    ledger = late.state / "ledger.db"
    kept = ledger.with_name("kept")
    ledger.rename(kept)
    ledger.mkdir()
    try:
        answer = late("watchdog", "--once", "--enforce")
    finally:
        ledger.rmdir()
        kept.rename(ledger)
    assert answer.code == 1, answer
    assert names(late, "running") == ["late-1", "late-2", "young"]


def test_cap_ends_no_more_and_says_so(late: Cli) -> None:
    """One is ended and proved, the other left alone with an alarm; exit 4. The next look ends it; exit 0."""
    code, body = look(late, "--enforce", "--max-ends", "1")
    assert code == 4, body
    assert [kind for kind, _ in kinds(body)] == ["ending", "ended", "alarm"]
    assert body["summary"]["held_back"] == 1
    assert len(names(late, "running")) == 2
    code, body = look(late, "--enforce")
    assert code == 0, body
    assert [kind for kind, _ in kinds(body)] == ["ending", "ended"]
    assert names(late, "running") == ["young"]
    assert {"watchdog"} <= {event["actor"] for event in late.ok("events")["events"]}


def test_lease_that_runs_is_left_alone(late: Cli) -> None:
    """A dead daemon alone ends nothing."""
    code, body = look(late, "--enforce")
    assert (code, body["summary"]["due"], body["summary"]["looked_at"]) == (0, 0, 1)
    assert names(late, "running") == ["young"]


def test_loop_ends_cleanly(late: Cli) -> None:
    """It looks, prints JSON lines, and SIGTERM ends it with 0."""
    process = late.start("watchdog", "--jsonl", "--interval", "1h")
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert (line["kind"], line["enforce"]) == ("summary", False)
    assert "watchdog ends" in words
