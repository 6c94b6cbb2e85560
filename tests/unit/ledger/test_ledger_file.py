"""The file: private, migrated, never overwritten, and clear words when it cannot be used."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_builders import KEY, NOON, event, instance, listing, operation

from gpudash.clock import ManualClock
from gpudash.errors import LedgerError
from gpudash.ledger import Ledger, schema
from gpudash.ledger.database import CHECKED_BYTES, Database


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def write_version(path: Path, version: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def everything_in(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def test_file_and_folder_are_private(ledger: Ledger, path: Path) -> None:
    """0600 in 0700, write-ahead log included, whatever the umask."""
    ledger.add_event(event())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()} == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path, clock: ManualClock) -> None:
    """It was copied, perhaps, from a backup."""
    Ledger.open(path, clock).close()
    path.chmod(0o644)
    Ledger.open(path, clock).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_an_older_ledger_is_brought_up_to_date(path: Path, clock: ManualClock, version: int) -> None:
    """What it held is still there, and everything newer works."""
    path.parent.mkdir()
    old = sqlite3.connect(path)
    for statements in schema.MIGRATIONS[:version]:
        for statement in statements:
            old.execute(statement)
    old.execute(
        "INSERT INTO events VALUES (1, '2026-03-01T11:00:00.000000Z', 'k', 'before', 'lab', NULL, NULL, '', '')"
    )
    old.execute(f"PRAGMA user_version = {version}")
    old.commit()
    old.close()
    ledger = Ledger.open(path, clock)
    ledger.observe(listing(NOON, [instance()]), NOON)
    ledger.want_tunnel(KEY, 8000, 8000)
    assert ([line.text for line in ledger.events()], ledger.notice) == (["before"], None)
    ledger.close()
    assert version_of(path) == len(schema.MIGRATIONS)


def test_a_migration_that_fails_changes_nothing(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or none of it."""
    Ledger.open(path, clock).close()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE TABLE extra (a)"))
    monkeypatch.setattr("gpudash.ledger.database.MIGRATIONS", broken)
    with pytest.raises(LedgerError):
        Ledger.open(path, clock)
    assert version_of(path) == len(schema.MIGRATIONS)


def test_a_newer_ledger_is_not_touched(path: Path, clock: ManualClock) -> None:
    """Not a byte, not a mode, not a file beside it; the error says what to do."""
    write_version(path, 99)
    path.chmod(0o640)
    before = everything_in(path.parent)
    with pytest.raises(LedgerError, match=r"newer gpudash.*99.*Update gpudash"):
        Ledger.open(path, clock)
    assert (everything_in(path.parent), stat.S_IMODE(path.stat().st_mode)) == (before, 0o640)


def test_a_newer_version_still_in_the_log_is_seen(path: Path, clock: ManualClock) -> None:
    """The newer program may be running, its migration not yet in the main file."""
    Ledger.open(path, clock).close()
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="newer gpudash"):
        Ledger.open(path, clock)
    newer.close()
    assert version_of(path) == 99


@pytest.mark.parametrize("damage", ["garbage", "truncated", "middle"])
def test_a_damaged_ledger_is_set_aside(path: Path, clock: ManualClock, damage: str) -> None:
    """Kept byte for byte under a name that says when, a new one begun, one line for the person."""
    ledger = Ledger.open(path, clock)
    for number in range(200):
        ledger.add_event(event(f"line {number} " + "x" * 200))
    ledger.close()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"my diary\n" * 999,
            "truncated": whole[:5000],
            "middle": whole[:8192] + b"\xff" * 9000 + whole[17192:],
        }[damage]
    )
    broken = path.read_bytes()
    fresh = Ledger.open(path, clock)
    fresh.add_event(event("new"))
    aside = path.with_name("ledger.db.corrupt-20260301T120000Z")
    assert aside.read_bytes() == broken
    assert fresh.notice is not None
    assert str(aside) in fresh.notice
    assert "\n" not in fresh.notice
    assert [line.text for line in fresh.events()] == ["new"]
    fresh.close()


def test_the_log_of_a_damaged_ledger_goes_with_it(path: Path, clock: ManualClock) -> None:
    """A leftover -wal would be played into the new file."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"garbage" * 1000)
    path.with_name("ledger.db-wal").write_bytes(b"log")
    path.with_name("ledger.db-shm").write_bytes(b"index")
    Ledger.open(path, clock).close()
    names = {item.name for item in path.parent.iterdir() if "corrupt" in item.name}
    stem = "ledger.db.corrupt-20260301T120000Z"
    assert stem in names
    assert f"{stem}-wal" in names


def test_two_damaged_ledgers_in_one_second_are_both_kept(path: Path, clock: ManualClock) -> None:
    """Neither overwrites the other."""
    path.parent.mkdir(mode=0o700)
    for body in (b"first" * 999, b"second" * 999):
        path.write_bytes(body)
        Ledger.open(path, clock).close()
    kept = {item.read_bytes() for item in path.parent.glob("*.corrupt-*")}
    assert kept == {b"first" * 999, b"second" * 999}


def test_a_healthy_successor_is_not_set_aside(path: Path, clock: ManualClock) -> None:
    """The notice is for the start that found the damage."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"garbage" * 1000)
    Ledger.open(path, clock).close()
    again = Ledger.open(path, clock)
    assert again.notice is None
    again.close()


def test_damage_found_while_running_is_dealt_with_at_the_next_start(path: Path, clock: ManualClock) -> None:
    """A large file is not checked on every start; an error in it marks it for the next."""
    ledger = Ledger.open(path, clock)
    text = "x" * 4000
    with ledger._db.write() as connection:
        rows = [(f"{n}", text) for n in range(CHECKED_BYTES // 4000 + 200)]
        connection.executemany(
            "INSERT INTO events (at, kind, text, account, name, actor) VALUES (?, 'k', ?, 'lab', '', '')", rows
        )
    ledger.close()
    with path.open("r+b") as file:
        file.seek(100 * 4096)
        file.write(b"\xff" * 4096 * 200)
    ledger = Ledger.open(path, clock)
    assert ledger.notice is None
    with pytest.raises(LedgerError, match=r"damaged.*sets the file aside"):
        ledger._db.rows("SELECT sum(length(text)) FROM events NOT INDEXED")
    ledger.close()
    healed = Ledger.open(path, clock)
    assert healed.notice is not None
    healed.close()


def test_an_empty_file_is_a_new_ledger(path: Path, clock: ManualClock) -> None:
    """What a crash in the first moment leaves."""
    path.parent.mkdir(mode=0o700)
    path.touch()
    ledger = Ledger.open(path, clock)
    assert (ledger.events(), ledger.notice) == ([], None)
    ledger.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path, clock: ManualClock) -> None:
    """The error names the path and the next step."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"ledger\.db.*XDG_STATE_HOME") as caught:
        Ledger.open(tmp_path / "file" / "ledger.db", clock)
    assert "\n" not in str(caught.value)


def test_a_folder_in_its_place(path: Path, clock: ManualClock) -> None:
    """Nothing of it is removed."""
    path.mkdir(parents=True)
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        Ledger.open(path, clock)
    assert path.is_dir()


def test_a_file_that_cannot_be_written(path: Path, clock: ManualClock) -> None:
    """As on a disk mounted read-only; what it holds can still be read."""
    database = Database(path, clock)
    ledger = Ledger(database)
    ledger.add_event(event())
    database._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be .*readonly.*XDG_STATE_HOME"):
        ledger.add_operation(operation())
    assert len(ledger.events()) == 1
    ledger.close()


def test_a_full_disk(path: Path, clock: ManualClock) -> None:
    """Nothing of the transaction was written, and the next one works once there is room."""
    database = Database(path, clock)
    ledger = Ledger(database)
    pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
    database._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match=r"ledger\.db.*full.*Free some space"):
        ledger.add_event(event("x" * 100_000))
    database._writer.execute("PRAGMA max_page_count = 1000000")
    ledger.add_event(event("room again"))
    assert [line.text for line in ledger.events()] == ["room again"]
    ledger.close()


def test_a_file_size_limit_is_an_error_with_words(tmp_path: Path) -> None:
    """The real thing: the kernel refuses the write in the middle."""
    code = (
        "import resource, signal, sys, pathlib\n"
        "from gpudash.clock import SystemClock\n"
        "from gpudash.ledger import Ledger\n"
        "from gpudash.model.event import Event\n"
        "clock = SystemClock()\n"
        "ledger = Ledger.open(pathlib.Path(sys.argv[1]), clock)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "for n in range(1000): ledger.add_event(Event(clock.now(), 'k', 'x' * 1000, 'lab'))\n"
    )
    path = tmp_path / "state" / "ledger.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "LedgerError" in done.stderr
    assert str(path) in done.stderr
    ledger = Ledger.open(path, ManualClock(NOON))
    assert ledger.notice is None
    assert ledger.events(1000) != []
    ledger.close()


def test_another_process_that_holds_on(path: Path, clock: ManualClock) -> None:
    """After a while the error says who is in the way."""
    ledger = Ledger(Database(path, clock, busy_s=0.1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"Another process has held the ledger .*ledger\.db for 0\.1 s"):
        ledger.add_event(event())
    assert ledger.events() == []
    other.execute("ROLLBACK")
    ledger.add_event(event())
    other.close()
    ledger.close()


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    """Closing twice does nothing."""
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.events()


def test_an_error_inside_a_transaction_leaves_nothing(path: Path, clock: ManualClock) -> None:
    """Not even what was written before it."""
    database = Database(path, clock)

    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO adopted VALUES ('a', 'b', 'c')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert database.rows("SELECT * FROM adopted") == []
    database.close()


def test_importing_the_ledger_is_light() -> None:
    """Nothing heavy, and nothing of other parts, stands between the start and the first frame."""
    code = "import sys, gpudash.ledger; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "80"}
    )
    modules = set(done.stdout.split())
    heavy = {"textual", "boto3", "httpx", "paramiko", "asyncio", "tomlkit", "hypothesis", "subprocess", "logging"}
    assert not heavy & modules
    ours = {name.split(".")[1] for name in modules if name.startswith("gpudash.")}
    assert ours == {"clock", "errors", "ledger", "model"}
