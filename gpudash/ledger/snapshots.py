"""The last answer of each cloud and each host, so that the first frame shows a fleet before anyone was asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.model.host import HostStatus, parse_status
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing

_COLUMNS = "account, region, complete, asked_at, fetched_at, problem, items"
_Row = tuple[str, str, int, str, str, str | None, str]


def save_listing(db: Database, listing: Listing[Instance]) -> None:
    """Keep the newest answer of one region.

    An incomplete one is merged into what is kept: it adds and changes, and removes nothing; instances it did not show
    keep the age of the answer that did.
    """
    with db.write() as connection:
        merged = listing if listing.complete else _merged(connection, listing)
        connection.execute(
            f"INSERT OR REPLACE INTO listings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 — the same
            (
                merged.account,
                merged.region,
                merged.complete,
                codec.stamp(merged.asked_at),
                codec.stamp(merged.fetched_at),
                merged.problem,
                codec.dumps(merged.items),
            ),
        )


def load_listings(db: Database) -> list[Listing[Instance]]:
    """The last answer of every region. An instance that cannot be read is left out and the listing says so."""
    return [_listing(row) for row in db.rows(f"SELECT {_COLUMNS} FROM listings")]  # noqa: S608 — our own words only


def save_absences(db: Database, account: str, region: str, since: Mapping[InstanceKey, datetime]) -> None:
    """Keep which instances of a region its last listings lacked, and since when; all others are there."""
    rows = {key.id: codec.stamp(moment) for key, moment in since.items()}
    where = (account, region)
    if rows == dict(db.rows("SELECT id, since FROM absences WHERE account = ? AND region = ?", where)):
        return
    with db.write() as connection:
        connection.execute("DELETE FROM absences WHERE account = ? AND region = ?", where)
        connection.executemany("INSERT INTO absences VALUES (?, ?, ?, ?)", [(*where, *row) for row in rows.items()])


def load_absences(db: Database) -> dict[InstanceKey, datetime]:
    """Instances that the last listings lacked, and since when."""
    rows = db.rows("SELECT account, region, id, since FROM absences")
    return {InstanceKey(*where): codec.moment(since) for *where, since in rows}


def save_status(db: Database, key: InstanceKey, body: Mapping[str, object], seen_at: datetime) -> None:
    """Keep a host's last ``/status`` document as it came."""
    with db.write() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO statuses (account, region, id, seen_at, body) VALUES (?, ?, ?, ?, ?)",
            (key.account, key.region, key.id, codec.stamp(seen_at), codec.dumps(body)),
        )


def forget_status(db: Database, key: InstanceKey) -> None:
    """Let go of what a host said that will not answer again."""
    with db.write() as connection:
        connection.execute(
            "DELETE FROM statuses WHERE (account, region, id) = (?, ?, ?)", (key.account, key.region, key.id)
        )


def load_statuses(db: Database) -> dict[InstanceKey, tuple[HostStatus, datetime]]:
    """Every host's last answer and when it came; one that cannot be read is as good as none."""
    found: dict[InstanceKey, tuple[HostStatus, datetime]] = {}
    for account, region, instance_id, seen_at, body in db.rows(
        "SELECT account, region, id, seen_at, body FROM statuses"
    ):
        try:
            status = parse_status(json.loads(body))
        except ValueError:
            continue
        found[InstanceKey(account, region, instance_id)] = (status, codec.moment(seen_at))
    return found


def _merged(connection: sqlite3.Connection, partial: Listing[Instance]) -> Listing[Instance]:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM listings WHERE account = ? AND region = ?",  # noqa: S608 — our own words only
        (partial.account, partial.region),
    ).fetchone()
    if row is None:
        return partial
    kept = _listing(row)
    items = {item.key: item for item in kept.items}
    unseen = items.keys() - {item.key for item in partial.items}
    items.update({item.key: item for item in partial.items})
    oldest = kept if unseen else partial
    return replace(
        partial, items=tuple(items.values()), asked_at=oldest.asked_at, fetched_at=oldest.fetched_at, complete=False
    )


def _listing(row: _Row) -> Listing[Instance]:
    account, region, complete, asked_at, fetched_at, problem, items = row
    readable: list[Instance] = []
    for plain in json.loads(items):
        try:
            readable.append(codec.unpack(Instance, plain))
        except ValueError as exc:
            complete, problem = 0, f"a stored instance cannot be read: {exc}"
    return Listing(
        account, region, tuple(readable), bool(complete), codec.moment(asked_at), codec.moment(fetched_at), problem
    )
