"""The SQLite file under the ledger: opening, migrating, locking, and errors a person can act on.

Safe from any thread and between processes. Writing goes through one connection behind one lock, in ``BEGIN IMMEDIATE``
transactions with a busy time-out, so a second process waits its turn. Reading has a connection of its own, so that
nobody who draws a screen waits for a writer. The journal is WAL; a durable write is fsynced before it returns.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import LedgerError
from gpudash.ledger.schema import MIGRATIONS

BUSY_S = 10.0
"""How long a writer waits for another process before it gives up."""

CHECKED_BYTES = 8 * 2**20
"""A file up to this size is checked whole on every start (about a millisecond a megabyte); a larger one only after
damage was noticed in it."""

_HEADER = b"SQLite format 3\x00"
_DAMAGE = ("malformed", "not a database", "corrupt")


class Database:
    """One ledger file, open. `notice` is a line for the person when something was wrong with it."""

    def __init__(self, path: Path, clock: Clock, busy_s: float = BUSY_S) -> None:
        self.path = path
        self.clock = clock
        self.notice: str | None = None
        self._busy_s = busy_s
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        with self._explained():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_newer(_version_in_header(self.path))
            with self._only_one_opens():
                self._make_private()
                self._writer = self._open_or_set_aside()
            self._reader = self._connect()
            self._reader.execute("PRAGMA query_only = ON")

    @property
    def _suspect(self) -> Path:
        return self.path.with_name(self.path.name + ".suspect")

    @property
    def pace(self) -> float:
        """Seconds of the ledger's clock in a real one: a sandbox at 60× speed polls once a minute of its own time."""
        return max(1.0, float(getattr(self.clock, "speed", 1.0)))

    def close(self) -> None:
        """Let go of the file. Waits for a write in flight."""
        with self._read_lock, self._write_lock, suppress(sqlite3.Error):
            self._reader.close()
            self._writer.close()

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, alone among all threads and processes. Durable: on disk when this returns.

        Raises:
            LedgerError: the file cannot be written; nothing of the transaction was.
        """
        with self._write_lock, self._explained():
            if durable:
                self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if durable:
                    self._writer.execute("PRAGMA synchronous = NORMAL")

    def rows(self, sql: str, arguments: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        """All rows of one question, from the newest committed state.

        Raises:
            LedgerError: the file cannot be read.
        """
        with self._read_lock, self._explained():
            return self._reader.execute(sql, arguments).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            if _is_damage(exc):
                with suppress(OSError):
                    self._suspect.touch(mode=0o600)
            raise _explain(exc, self.path, self._busy_s) from exc

    def _make_private(self) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o600)

    @contextmanager
    def _only_one_opens(self) -> Iterator[None]:
        """Serialise openings, so that a damaged file is set aside once and its successor never is."""
        descriptor = os.open(
            self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except _Damaged as exc:
            self.notice = str(exc)
        self._make_private()
        return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            self._refuse_newer(version)
            self._check(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if version < len(MIGRATIONS):
                _migrate(connection)
        except sqlite3.DatabaseError as exc:
            if not _is_damage(exc):
                connection.close()
                raise
            raise _Damaged(self._set_aside(connection, str(exc))) from exc
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)

    def _check(self, connection: sqlite3.Connection) -> None:
        if self.path.stat().st_size > CHECKED_BYTES and not self._suspect.exists():
            return
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"malformed: {' '.join(verdict.split())}")
        self._suspect.unlink(missing_ok=True)

    def _refuse_newer(self, version: int) -> None:
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"{self.path} was written by a newer gpudash (ledger version {version}, this one knows "
                f"{len(MIGRATIONS)}). Nothing was changed.",
                hint="Update gpudash, or point XDG_STATE_HOME elsewhere.",
            )

    def _set_aside(self, connection: sqlite3.Connection, why: str) -> str:
        """Copy the file and its log away before SQLite, on closing, plays one into the other; then begin anew."""
        name = f"{self.path.name}.corrupt-{self.clock.now():%Y%m%dT%H%M%SZ}"
        target, count = self.path.with_name(name), 1
        while target.exists():
            count += 1
            target = self.path.with_name(f"{name}-{count}")
        try:
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    _copy_private(self.path.with_name(self.path.name + suffix), target.with_name(target.name + suffix))
        finally:
            connection.close()
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._suspect.unlink(missing_ok=True)
        return (
            f"The ledger was damaged ({why}); it was set aside as {target} and a new one begun. "
            "Instances are found again from the clouds; what they cost before now is not in it."
        )


class _Damaged(Exception):
    """The file was damaged and is set aside; the text is the notice."""


def _copy_private(source: Path, target: Path) -> None:
    with source.open("rb") as old:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as new:
            while chunk := old.read(2**20):
                new.write(chunk)
            new.flush()
            os.fsync(new.fileno())


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version_in_header(path: Path) -> int:
    """``user_version`` as the file itself has it, read without touching anything."""
    try:
        with path.open("rb") as file:
            header = file.read(64)
    except FileNotFoundError:
        return 0
    return int.from_bytes(header[60:64], "big") if len(header) == 64 and header.startswith(_HEADER) else 0


def _is_damage(exc: BaseException) -> bool:
    return isinstance(exc, sqlite3.DatabaseError) and any(word in str(exc).lower() for word in _DAMAGE)


def _explain(exc: sqlite3.Error | OSError, path: Path, busy_s: float) -> LedgerError:
    said = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    words = said.lower()
    if _is_damage(exc):
        return LedgerError(
            f"The ledger {path} is damaged ({said}).", hint="Start gpudash again: it sets the file aside."
        )
    if isinstance(exc, sqlite3.IntegrityError):
        return LedgerError(f"The ledger {path} refused a write: {said}.")
    if "locked" in words or "busy" in words:
        return LedgerError(
            f"Another process has held the ledger {path} for {busy_s:g} s.", hint="End it, or try again in a moment."
        )
    if "full" in words or "no space" in words:
        return LedgerError(f"The ledger {path} cannot be written: {said}.", hint="Free some space on that disk.")
    if "closed database" in words:
        return LedgerError(f"The ledger {path} is closed.")
    if "i/o" in words:
        return LedgerError(f"The disk under the ledger {path} failed: {said}.", hint="Check that disk and its space.")
    return LedgerError(
        f"The ledger {path} cannot be read or written: {said}.",
        hint=f"Make {path.parent} writable for you, or point XDG_STATE_HOME at a folder that is.",
    )
