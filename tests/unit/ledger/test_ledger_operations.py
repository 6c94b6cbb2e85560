"""Intents, the diary, and what a person wants, across threads, processes and crashes."""

import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from ledger_builders import HOUR, KEY, MINUTE, NOON, SECOND, event, instance, listing, operation

from gpudash.clock import ManualClock
from gpudash.errors import LedgerError
from gpudash.ledger import Ledger, WantedTunnel
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Stage
from gpudash.model.policy import Policy

OTHER = InstanceKey("home", "west", "i-9")


def test_an_operation_comes_back(ledger: Ledger) -> None:
    """By its id, as it was."""
    ledger.add_operation(operation())
    assert ledger.operation("op-1") == operation()
    assert ledger.operation("op-2") is None


def test_an_operation_moves_on(ledger: Ledger) -> None:
    """Every field of it, not only the stage."""
    ledger.add_operation(operation())
    later = replace(operation(), stage=Stage.RETRYING, attempts=2, detail="500", next_try_at=NOON + MINUTE)
    ledger.update_operation(later)
    assert ledger.operation("op-1") == later


def test_updating_what_was_never_added_is_an_error(ledger: Ledger) -> None:
    """An intent that is not on disk must not look as if it were."""
    with pytest.raises(LedgerError, match="op-1 is not in the ledger"):
        ledger.update_operation(operation())


def test_an_intent_is_written_once(ledger: Ledger) -> None:
    """The same id again is an error and changes nothing."""
    ledger.add_operation(operation())
    with pytest.raises(LedgerError, match="op-1"):
        ledger.add_operation(operation(detail="other"))
    assert ledger.operation("op-1") == operation()


def test_a_launch_token_is_used_once(ledger: Ledger) -> None:
    """Promise 2: two intents for one launch cannot both stand in the ledger."""
    ledger.add_operation(operation(1, verb=Verb.LAUNCH, token="gd-1", key=None))
    with pytest.raises(LedgerError, match="gd-1"):
        ledger.add_operation(operation(2, verb=Verb.LAUNCH, token="gd-1", key=None))


def test_open_operations_are_those_not_settled(ledger: Ledger) -> None:
    """Oldest first."""
    for number, stage in enumerate(Stage):
        ledger.add_operation(operation(number, stage=stage, requested_at=NOON - number * MINUTE))
    stages = [found.stage for found in ledger.open_operations()]
    assert stages == [Stage.RETRYING, Stage.ACCEPTED, Stage.AMBIGUOUS, Stage.INTENDED]
    assert ledger.open_operations("home") == []


def test_recent_operations_are_newest_first(ledger: Ledger) -> None:
    """Settled or not."""
    for number in range(4):
        ledger.add_operation(operation(number, requested_at=NOON + number * MINUTE, stage=Stage.PROVED))
    assert [found.id for found in ledger.recent_operations(2)] == ["op-3", "op-2"]


def test_a_claim_keeps_others_out(ledger: Ledger) -> None:
    """Until it is given back; its owner may take it again."""
    ledger.add_operation(operation())
    assert [ledger.claim("op-1", owner, 60) for owner in ("a", "b", "a")] == [True, False, True]
    ledger.release("op-1", "b")
    assert not ledger.claim("op-1", "b", 60)
    ledger.release("op-1", "a")
    assert ledger.claim("op-1", "b", 60)


def test_a_claim_runs_out(ledger: Ledger, clock: ManualClock) -> None:
    """Its owner may be dead."""
    ledger.add_operation(operation())
    assert ledger.claim("op-1", "dead", 60)
    clock.advance(60)
    assert ledger.claim("op-1", "b", 60)


def test_a_claim_from_the_future_is_void(ledger: Ledger, clock: ManualClock) -> None:
    """The clock was put back by a day; nobody waits that long."""
    ledger.add_operation(operation())
    assert ledger.claim("op-1", "a", 60)
    clock.advance(-86_400)
    assert ledger.claim("op-1", "b", 60)


def test_an_update_keeps_the_claim(ledger: Ledger) -> None:
    """Who drives it writes to it."""
    ledger.add_operation(operation())
    assert ledger.claim("op-1", "a", 60)
    ledger.update_operation(operation(attempts=1))
    assert not ledger.claim("op-1", "b", 60)


def test_nothing_can_be_claimed_that_is_not_there(ledger: Ledger) -> None:
    """False, not an error: it may have been forgotten a moment ago."""
    assert not ledger.claim("op-1", "a", 60)


def test_events_are_newest_first(ledger: Ledger) -> None:
    """By their time, and in the order of writing within one moment."""
    for text, seconds in (("a", 0), ("c", 2), ("b", 1), ("d", 2)):
        ledger.add_event(event(text, NOON + timedelta(seconds=seconds)))
    assert [line.text for line in ledger.events()] == ["d", "c", "b", "a"]


def test_events_of_one_instance_since_a_moment(ledger: Ledger) -> None:
    """Filters together, limit after them."""
    for minute in range(5):
        ledger.add_event(event(f"{minute}", NOON + minute * MINUTE))
        ledger.add_event(event("of another", NOON + minute * MINUTE, OTHER))
    found = ledger.events(2, KEY, NOON + 2 * MINUTE)
    assert [line.text for line in found] == ["4", "3"]


def test_an_event_comes_back_whole(ledger: Ledger) -> None:
    """With and without an instance."""
    for line in (event(), event("key refused", key=None)):
        ledger.add_event(line)
        assert ledger.events(1) == [line]


def test_a_policy_is_kept(ledger: Ledger) -> None:
    """The last decision of each instance."""
    ledger.set_policy(KEY, Policy(NOON))
    ledger.set_policy(KEY, Policy(NOON + HOUR, revision=2))
    assert ledger.policies() == {KEY: Policy(NOON + HOUR, revision=2)}


def test_a_late_older_policy_changes_nothing(ledger: Ledger) -> None:
    """Two programs at once; the answer is what is kept."""
    newer = Policy(NOON + 2 * HOUR, revision=3)
    ledger.set_policy(KEY, newer)
    assert ledger.set_policy(KEY, Policy(NOON, revision=2)) == newer
    assert ledger.policies() == {KEY: newer}


def test_adopting_twice_is_adopting(ledger: Ledger) -> None:
    """Idempotent."""
    ledger.adopt(KEY)
    ledger.adopt(KEY)
    assert ledger.adopted() == {KEY}


def test_wanted_tunnels(ledger: Ledger) -> None:
    """One a remote port; the last local port counts."""
    ledger.want_tunnel(KEY, 8888, 8888)
    ledger.want_tunnel(KEY, 8000, 8000)
    ledger.want_tunnel(KEY, 8000, 18000)
    ledger.unwant_tunnel(KEY, 8888)
    assert ledger.wanted_tunnels() == [WantedTunnel(KEY, 8000, 18000)]


def test_forgetting_an_account_leaves_the_others(ledger: Ledger) -> None:
    """Every table of it is empty, and nothing else was touched."""
    for key in (KEY, OTHER):
        ledger.add_operation(replace(operation(), id=key.id, account=key.account, key=key))
        ledger.add_event(replace(event(key=key), account=key.account))
        ledger.set_policy(key, Policy(NOON))
        ledger.adopt(key)
        ledger.want_tunnel(key, 1, 1)
        seen = replace(listing(NOON, [replace(instance(), key=key)]), account=key.account, region=key.region)
        ledger.observe(seen, NOON)
        ledger.save_listing(seen)
        ledger.save_status(key, {"version": "1", "now": "2026-03-01T12:00:00Z", "policy": {}}, NOON)
    ledger.forget_account("lab")
    assert (ledger.intervals(KEY), ledger.adopted(), set(ledger.policies())) == ([], {OTHER}, {OTHER})
    assert [found.account for found in ledger.recent_operations()] == ["home"]
    assert [line.account for line in ledger.events()] == ["home"]
    assert [found.account for found in ledger.load_listings()] == ["home"]
    assert set(ledger.load_statuses()) == {OTHER}
    assert set(ledger.accruals()) == {OTHER}
    assert len(ledger.wanted_tunnels()) == 1


def test_threads_lose_nothing(ledger: Ledger, path: Path, clock: ManualClock) -> None:
    """Two objects on one file, four threads each, a thousand lines."""
    other = Ledger.open(path, clock)

    def write(where: Ledger, name: str) -> None:
        for number in range(125):
            where.add_event(event(f"{name} {number}"))

    threads = [
        Thread(target=write, args=(where, f"{where is other} {n}")) for where in (ledger, other) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert len({line.text for line in ledger.events(2000)}) == 1000


WRITER = """
import sys, pathlib, dataclasses
sys.path.insert(0, sys.argv[3])
from ledger_builders import event, operation
from gpudash.clock import SystemClock
from gpudash.ledger import Ledger
ledger = Ledger.open(pathlib.Path(sys.argv[1]), SystemClock())
print("open", flush=True)
"""


def start(code: str, path: Path, name: str) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + code, str(path), name, here], stdout=subprocess.PIPE, text=True
    )


def test_processes_lose_nothing(path: Path, clock: ManualClock) -> None:
    """Four processes create the file together and write a thousand lines."""
    code = "for n in range(250): ledger.add_event(event(f'{sys.argv[2]} {n}'))"
    writers = [start(code, path, str(number)) for number in range(4)]
    assert [writer.communicate() and writer.returncode for writer in writers] == [0] * 4
    ledger = Ledger.open(path, clock)
    assert len({line.text for line in ledger.events(2000)}) == 1000
    ledger.close()


@pytest.mark.parametrize("lines", [1, 5, 23])
def test_kill_9_leaves_every_intent_that_was_acknowledged(path: Path, clock: ManualClock, lines: int) -> None:
    """Promise 2: what `add_operation` returned from is there, and the file is sound."""
    code = """
n = 0
while True:
    ledger.add_operation(operation(n))
    print(n, flush=True)
    n += 1
"""
    writer = start(code, path, "x")
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline() for _ in range(lines + 1)][1:]
    writer.send_signal(signal.SIGKILL)
    acknowledged += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    ledger = Ledger.open(path, clock)
    found = {operation.id for operation in ledger.open_operations()}
    assert ledger.notice is None
    assert {f"op-{int(line)}" for line in acknowledged} <= found
    ledger.add_operation(operation(10_000))
    ledger.close()


def test_an_intent_is_fsynced(ledger: Ledger) -> None:
    """The transaction runs under synchronous=FULL, others do not pay for it."""
    said: list[str] = []
    ledger._db._writer.set_trace_callback(said.append)
    ledger.add_operation(operation())
    ledger.add_event(event())
    pragmas = [text for text in said if text.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    assert pragmas == [
        "PRAGMA synchronous = FULL",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "PRAGMA synchronous = NORMAL",
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def test_a_reader_waits_for_no_writer(ledger: Ledger, path: Path) -> None:
    """What a screen asks is answered while another process writes."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert ledger.open_operations() == []
    other.execute("ROLLBACK")
    other.close()


def test_an_unreadable_intent_is_an_error_and_not_forgotten(ledger: Ledger) -> None:
    """Leaving it out would let a launch double."""
    ledger.add_operation(operation())
    with ledger._db.write() as connection:
        connection.execute("UPDATE operations SET body = '{}'")
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.open_operations()


def test_times_are_kept_to_the_microsecond(ledger: Ledger) -> None:
    """An operation read back is equal to the one written."""
    odd = operation(requested_at=NOON + SECOND / 3)
    ledger.add_operation(odd)
    assert ledger.operation("op-1") == odd
