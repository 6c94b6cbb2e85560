"""Letting go of old diary lines and settled intents, so that the file does not grow for ever.

The rule: what is older than `KEPT` goes, and beyond `MOST_EVENTS` and `MOST_OPERATIONS` an account the oldest go first.
Kept whatever their age: money (intervals and their sums), intents that are still open, and everything of an instance
that was not seen to end, so that its page can tell how it came to be.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from gpudash.ledger import codec
from gpudash.ledger.database import Database

KEPT = timedelta(days=400)
"""A year, and the month in which somebody asks about it."""
MOST_EVENTS = 50_000
MOST_OPERATIONS = 10_000
BATCH = 500
"""Rows in one transaction: other processes get their turn in between."""

_OLD_EVENTS = """
    SELECT number FROM events e WHERE account = :account AND at < :before AND NOT EXISTS (
        SELECT 1 FROM meters m WHERE (m.account, m.region, m.id) = (e.account, e.region, e.id) AND gone_at IS NULL
    ) LIMIT :batch
"""
_SURPLUS_EVENTS = """
    SELECT number FROM events WHERE account = :account AND number <= (
        SELECT number FROM events WHERE account = :account ORDER BY number DESC LIMIT 1 OFFSET :most
    ) LIMIT :batch
"""
_OLD_OPERATIONS = """
    SELECT rowid FROM operations o WHERE account = :account AND NOT is_open AND requested_at < :before AND NOT EXISTS (
        SELECT 1 FROM meters m WHERE (m.account, m.region, m.id) = (
            o.account, json_extract(body, '$.key.region'), json_extract(body, '$.key.id')
        ) AND gone_at IS NULL
    ) LIMIT :batch
"""
_SURPLUS_OPERATIONS = """
    SELECT rowid FROM operations WHERE account = :account AND NOT is_open AND rowid <= (
        SELECT rowid FROM operations WHERE account = :account ORDER BY rowid DESC LIMIT 1 OFFSET :most
    ) LIMIT :batch
"""


def prune(db: Database, accounts: Collection[str] | None) -> int:
    """Apply the rule by the ledger's clock; how many rows went.

    Args:
        db: the ledger.
        accounts: only these, where the clock is theirs alone: a sandbox may live months ahead of the clouds. None is
            every account that has rows, configured or not.

    Raises:
        LedgerError: the file cannot be written; what went before stays gone.
    """
    if accounts is None:
        rows = db.rows("SELECT account FROM events UNION SELECT account FROM operations")
        accounts = [account for (account,) in rows]
    before, gone = codec.stamp(db.clock.now() - KEPT), 0
    for account in accounts:
        for table, which, most in _STEPS:
            gone += _delete(db, table, which, {"account": account, "before": before, "most": most, "batch": BATCH})
    return gone


_STEPS = (
    ("events", _OLD_EVENTS, 0),
    ("events", _SURPLUS_EVENTS, MOST_EVENTS),
    ("operations", _OLD_OPERATIONS, 0),
    ("operations", _SURPLUS_OPERATIONS, MOST_OPERATIONS),
)


def _delete(db: Database, table: str, which: str, arguments: dict[str, object]) -> int:
    gone = 0
    while True:
        with db.write() as connection:
            statement = f"DELETE FROM {table} WHERE rowid IN ({which})"  # noqa: S608 — our own words only
            count = connection.execute(statement, arguments).rowcount
        gone += count
        if count < BATCH:
            return gone
