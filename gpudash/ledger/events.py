"""The diary: what happened to which instance, by whose hand."""

from __future__ import annotations

from datetime import datetime

from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey


def add(db: Database, event: Event) -> None:
    """Append one line."""
    key = event.key
    with db.write() as connection:
        connection.execute(
            "INSERT INTO events (at, kind, text, account, region, id, name, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                codec.stamp(event.at),
                event.kind,
                event.text,
                event.account,
                key.region if key else None,
                key.id if key else None,
                event.name,
                event.actor,
            ),
        )


def newest(db: Database, limit: int, key: InstanceKey | None, since: datetime | None) -> list[Event]:
    """Lines newest first: of one instance where `key` is given, from `since` on where that is given."""
    conditions, arguments = ["1"], list[object]()
    if key is not None:
        conditions.append("account = ? AND region = ? AND id = ?")
        arguments += [key.account, key.region, key.id]
    if since is not None:
        conditions.append("at >= ?")
        arguments.append(codec.stamp(since))
    rows = db.rows(
        "SELECT at, kind, text, account, region, id, name, actor FROM events"  # noqa: S608 — our own words only
        f" WHERE {' AND '.join(conditions)} ORDER BY at DESC, number DESC LIMIT ?",
        (*arguments, limit),
    )
    return [
        Event(
            at=codec.moment(at),
            kind=kind,
            text=text,
            account=account,
            key=None if instance_id is None else InstanceKey(account, region, instance_id),
            name=name,
            actor=actor,
        )
        for at, kind, text, account, region, instance_id, name, actor in rows
    ]
