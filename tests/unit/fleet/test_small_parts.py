"""Lanes, pace, liveness, names, steps, tags and exit codes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.waiting import PATIENCE_S

from gpudash.clock import ManualClock, ScaledClock
from gpudash.errors import ExitCode, NotFound
from gpudash.fleet import steps
from gpudash.fleet.lanes import Lane, Lanes
from gpudash.fleet.liveness import Liveness
from gpudash.fleet.outcome import exit_code
from gpudash.fleet.pace import Pace, backoff_s
from gpudash.fleet.policytags import tags_for
from gpudash.fleet.record import Record
from gpudash.fleet.resolve import resolve
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tags import tagged_policy

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


# -- lanes ------------------------------------------------------------------------------------------------------------


def test_a_lane_does_one_thing_after_another() -> None:
    lane, done = Lane("x"), []
    futures = [lane.submit(done.append, number) for number in range(100)]
    futures[-1].result(PATIENCE_S)
    assert done == list(range(100))


def test_a_lane_outlives_what_fails_in_it() -> None:
    lane = Lane("x")
    failed = lane.submit(int, "no number")
    assert isinstance(failed.exception(PATIENCE_S), ValueError)
    assert lane.submit(int, "7").result(PATIENCE_S) == 7


def test_a_lane_is_busy_while_something_runs() -> None:
    lane, gate = Lane("x"), threading.Event()
    future = lane.submit(gate.wait, 2 * PATIENCE_S)
    assert lane.busy
    gate.set()
    future.result(PATIENCE_S)
    lane.submit(int).result(PATIENCE_S)
    assert lane.submit(lambda: lane.busy).result(PATIENCE_S)


async def test_a_hung_lane_delays_no_other() -> None:
    lanes, gate = Lanes(), threading.Event()
    stuck = asyncio.ensure_future(lanes["a"].call(gate.wait, 2 * PATIENCE_S))
    assert await asyncio.wait_for(lanes["b"].call(int, "7"), PATIENCE_S) == 7
    gate.set()
    await stuck


def test_a_closed_lane_takes_no_more() -> None:
    lane = Lane("x")
    lane.close()
    with pytest.raises(RuntimeError, match="closed"):
        lane.submit(int)


def test_a_process_with_a_hung_lane_ends_at_once() -> None:
    code = "from gpudash.fleet.lanes import Lane; import threading; Lane('x').submit(threading.Event().wait, 600)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S, check=False).returncode == 0


# -- time -------------------------------------------------------------------------------------------------------------


def test_a_cadence_is_real_seconds_on_a_fast_clock(tmp_path: Path) -> None:
    clock = ScaledClock(tmp_path / "clock.json")
    clock.set_speed(60)
    pace = Pace(clock)
    assert pace.span(2) == timedelta(minutes=2)
    assert pace.real_seconds(timedelta(minutes=2)) == 2


def test_a_plain_clock_has_the_pace_of_a_wall_clock() -> None:
    assert Pace(ManualClock(NOON)).span(2) == timedelta(seconds=2)


def test_waits_double_up_to_their_ceiling() -> None:
    assert [backoff_s(n, first_s=5, most_s=60) for n in (0, 1, 2, 3, 4, 5, 1000)] == [5, 5, 10, 20, 40, 60, 60]


# -- who lives --------------------------------------------------------------------------------------------------------


def buried(liveness: Liveness) -> list[str]:
    found: list[str] = []
    liveness.bury(found.append)
    return found


def test_sessions_that_begin_while_others_bury_are_not_buried(tmp_path: Path) -> None:
    """Between the making of a lock file and its locking it looks like a dead one's."""
    gate, opened = threading.Event(), []
    sexton = Liveness(tmp_path)

    def dig() -> None:
        while not gate.is_set():
            buried(sexton)

    digger = threading.Thread(target=dig)
    digger.start()
    for _ in range(200):
        opened.append(Liveness(tmp_path))
    gate.set()
    digger.join()
    assert all(sexton.is_alive(one.owner) for one in opened)
    for one in [*opened, sexton]:
        one.close()


def test_a_session_that_lives_is_not_buried(tmp_path: Path) -> None:
    one, other = Liveness(tmp_path), Liveness(tmp_path)
    assert buried(other) == []
    assert other.is_alive(one.owner)
    one.close()
    assert not other.is_alive(one.owner)
    other.close()


def test_a_session_that_was_killed_is_buried_once(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from gpudash.fleet.liveness import Liveness;"
        "print(Liveness(pathlib.Path(sys.argv[1])).owner, flush=True); os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    one, other = Liveness(tmp_path), Liveness(tmp_path)
    assert not one.is_alive(dead.stdout.strip())
    assert buried(one) == [dead.stdout.strip()]
    assert buried(other) == []
    one.close()
    other.close()


# -- names ------------------------------------------------------------------------------------------------------------


def record(account: str, instance_id: str, name: str) -> Record:
    return Record(Instance(InstanceKey(account, "r", instance_id), "fake", name, InstanceState.RUNNING, ""), NOON)


FLEET = [
    record("work", "i-abc1", "train"),
    record("work", "i-abd2", "eval"),
    record("home", "i-abc1", "comfy"),
    record("home", "i-zzz9", "eval"),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("train", "work:i-abc1"),
        ("home:i-abc1", "home:i-abc1"),
        ("work:eval", "work:i-abd2"),
        ("i-abd", "work:i-abd2"),
        ("home:i-z", "home:i-zzz9"),
        ("i-zzz9", "home:i-zzz9"),
    ],
)
def test_an_instance_is_found_by(text: str, found: str) -> None:
    assert str(resolve(FLEET, text).key) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eval", "fits several.*home:i-zzz9.*work:i-abd2"),
        ("i-abc1", "fits several"),
        ("i-ab", "fits several"),
        ("trai", "Did you mean work:i-abc1"),
        ("nothing", "There is:"),
        ("", "There is no instance"),
    ],
)
def test_what_is_not_clear_is_refused_with_candidates(text: str, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        resolve(FLEET, text)


# -- steps, tags, exit codes ------------------------------------------------------------------------------------------


def test_steps_go_from_todo_over_now_to_done() -> None:
    way = steps.done(steps.begin(steps.LAUNCH), "price", "2.49 $/h", NOON)
    assert [step.state for step in way] == ["done", "now", "todo", "todo", "todo", "todo"]
    way = steps.at(way, "ssh", "refused")
    assert [step.state for step in way] == ["done", "done", "done", "now", "todo", "todo"]
    assert [step.state for step in steps.failed(way, "gone")] == ["done", "done", "done", "failed", "todo", "todo"]


def test_limits_survive_the_way_through_tags() -> None:
    policy = Policy(NOON, NOON + timedelta(hours=2), timedelta(minutes=90), EndAction.TERMINATE, revision=3)
    assert tagged_policy(tags_for(policy, managed=True)) == policy


def test_limits_alone_do_not_make_an_instance_ours() -> None:
    assert "gpudash:managed" not in tags_for(Policy(NOON), managed=False)


@pytest.mark.parametrize(
    ("stage", "error", "code"),
    [
        (Stage.PROVED, None, ExitCode.OK),
        (Stage.ACCEPTED, None, ExitCode.UNPROVED),
        (Stage.RETRYING, "Unreachable", ExitCode.UNPROVED),
        (Stage.FAILED, "NoCapacity", ExitCode.FAILED),
        (Stage.FAILED, "AuthRefused", ExitCode.UNREACHABLE),
        (Stage.FAILED, "Refused", ExitCode.REFUSED),
        (Stage.FAILED, "NotLaunched", ExitCode.FAILED),
        (Stage.CANCELLED, None, ExitCode.FAILED),
    ],
)
def test_an_operation_ends_a_command_with(stage: Stage, error: str | None, code: ExitCode) -> None:
    params = {"error": error} if error else {}
    assert exit_code(Operation("x", Verb.STOP, "a", "r", stage, NOON, NOON, params=params)) is code


# -- imports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["store", "session", "fleet", "actions", "readiness"])
def test_the_heart_loads_no_heavy_library(module: str) -> None:
    heavy = "{'paramiko','sshtunnel','httpx','boto3','botocore','textual','keyring','stamina','pydantic'}"
    code = f"import sys, gpudash.fleet.{module}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
