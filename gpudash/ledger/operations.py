"""Intents: what was asked of the world, on disk before it is asked, and how far it has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import datetime, timedelta

from gpudash.errors import LedgerError
from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation


def add(db: Database, operation: Operation) -> None:
    """Write a new intent; it survives a power cut once this returns.

    Raises:
        LedgerError: it cannot be written, or the id or the launch token was used before.
    """
    with db.write(durable=True) as connection:
        try:
            connection.execute(
                "INSERT INTO operations (id, verb, account, region, token, is_open, requested_at, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    operation.id,
                    str(operation.verb),
                    operation.account,
                    operation.region,
                    operation.token,
                    operation.stage.is_open,
                    codec.stamp(operation.requested_at),
                    codec.dumps(operation),
                ),
            )
        except sqlite3.IntegrityError as exc:
            raise LedgerError(f"Operation {operation.id} (token {operation.token}) is in the ledger already.") from exc


def update(db: Database, operation: Operation) -> None:
    """Replace an intent by its next state, as durably as it was added.

    Raises:
        LedgerError: it cannot be written, or was never added.
    """
    with db.write(durable=True) as connection:
        changed = connection.execute(
            "UPDATE operations SET is_open = ?, region = ?, token = ?, body = ? WHERE id = ?",
            (operation.stage.is_open, operation.region, operation.token, codec.dumps(operation), operation.id),
        ).rowcount
        if not changed:
            raise LedgerError(f"Operation {operation.id} is not in the ledger.")


def one(db: Database, op_id: str) -> Operation | None:
    """The operation of that id."""
    rows = db.rows("SELECT body FROM operations WHERE id = ?", (op_id,))
    return _read(rows[0][0]) if rows else None


def still_open(db: Database, account: str | None) -> list[Operation]:
    """Everything that is not settled, oldest first."""
    rows = db.rows(
        "SELECT body FROM operations WHERE is_open AND (? IS NULL OR account = ?) ORDER BY requested_at, rowid",
        (account, account),
    )
    return [_read(body) for (body,) in rows]


def recent(db: Database, limit: int) -> list[Operation]:
    """The newest operations, open or not, newest first."""
    rows = db.rows("SELECT body FROM operations ORDER BY requested_at DESC, rowid DESC LIMIT ?", (limit,))
    return [_read(body) for (body,) in rows]


def of_one(db: Database, key: InstanceKey, limit: int) -> list[Operation]:
    """The newest operations on one instance, open or not, newest first."""
    rows = db.rows(
        "SELECT body FROM operations WHERE account = ? AND json_extract(body, '$.key.id') = ?"
        " AND json_extract(body, '$.key.region') = ? ORDER BY requested_at DESC, rowid DESC LIMIT ?",
        (key.account, key.id, key.region, limit),
    )
    return [_read(body) for (body,) in rows]


def launched_at(db: Database, tokens: Collection[str]) -> dict[str, datetime]:
    """When each launch with one of these tokens was asked for; tokens of others are left out."""
    marks = ", ".join("?" * len(tokens))
    rows = db.rows(
        f"SELECT token, requested_at FROM operations WHERE verb = 'launch' AND token IN ({marks})",  # noqa: S608 — marks only
        tuple(tokens),
    )
    return {token: codec.moment(at) for token, at in rows}


def claim(db: Database, op_id: str, owner: str, seconds: float) -> bool:
    """Take the right to drive an operation for `seconds`; the owner may take it again. False: someone else has it.

    A claim counts only between the moment it was made and its end, so one left behind by a clock that was put back is
    void, and a dead owner's runs out.
    """
    now = db.clock.now()
    with db.write() as connection:
        changed = connection.execute(
            "UPDATE operations SET owner = ?1, claimed_at = ?2, claimed_until = ?3 WHERE id = ?4"
            " AND (owner IS NULL OR owner = ?1 OR claimed_until <= ?2 OR claimed_at > ?2)",
            (owner, codec.stamp(now), codec.stamp(now + timedelta(seconds=seconds * db.pace)), op_id),
        ).rowcount
    return changed == 1


def release(db: Database, op_id: str, owner: str) -> None:
    """Give the right back; nothing happens where someone else holds it."""
    with db.write() as connection:
        connection.execute(
            "UPDATE operations SET owner = NULL, claimed_at = NULL, claimed_until = NULL WHERE id = ? AND owner = ?",
            (op_id, owner),
        )


def _read(body: str) -> Operation:
    try:
        return codec.loads(Operation, body)
    except ValueError as exc:
        raise LedgerError(f"An operation in the ledger cannot be read ({exc}): {body[:200]}") from exc
