"""What a person decided and expects to find again: limits, adopted instances, tunnels that should be up."""

from __future__ import annotations

from typing import NamedTuple

from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.model.instance import InstanceKey
from gpudash.model.policy import Policy


class WantedTunnel(NamedTuple):
    """A forward that comes back when the dashboard is opened again."""

    key: InstanceKey
    remote: int
    local: int


def set_policy(db: Database, key: InstanceKey, policy: Policy) -> Policy:
    """Keep what was decided for one instance, and answer what is kept now.

    A lower revision than the one kept is an older decision that arrives late; it changes nothing.
    """
    with db.write(durable=True) as connection:
        connection.execute(
            "INSERT INTO policies (account, region, id, revision, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body"
            " WHERE excluded.revision >= policies.revision",
            (key.account, key.region, key.id, policy.revision, codec.dumps(policy)),
        )
        (body,) = connection.execute(
            "SELECT body FROM policies WHERE (account, region, id) = (?, ?, ?)", (key.account, key.region, key.id)
        ).fetchone()
    return codec.loads(Policy, body)


def policies(db: Database) -> dict[InstanceKey, Policy]:
    """What was decided, for every instance for which something was."""
    rows = db.rows("SELECT account, region, id, body FROM policies")
    return {InstanceKey(*where): codec.loads(Policy, body) for *where, body in rows}


def adopt(db: Database, key: InstanceKey) -> None:
    """From now on this instance is managed. Again changes nothing."""
    with db.write(durable=True) as connection:
        connection.execute("INSERT OR IGNORE INTO adopted VALUES (?, ?, ?)", (key.account, key.region, key.id))


def adopted(db: Database) -> set[InstanceKey]:
    """Every instance a person gave into our hands."""
    return {InstanceKey(*row) for row in db.rows("SELECT account, region, id FROM adopted")}


def want_tunnel(db: Database, key: InstanceKey, remote: int, local: int) -> None:
    """This forward should be up whenever the instance runs; a second one to the same remote port replaces it."""
    with db.write() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO wanted_tunnels (account, region, id, remote, local) VALUES (?, ?, ?, ?, ?)",
            (key.account, key.region, key.id, remote, local),
        )


def unwant_tunnel(db: Database, key: InstanceKey, remote: int) -> None:
    """The forward was closed by a person."""
    with db.write() as connection:
        connection.execute(
            "DELETE FROM wanted_tunnels WHERE (account, region, id, remote) = (?, ?, ?, ?)",
            (key.account, key.region, key.id, remote),
        )


def wanted_tunnels(db: Database) -> list[WantedTunnel]:
    """Every forward that should be up."""
    rows = db.rows("SELECT account, region, id, remote, local FROM wanted_tunnels ORDER BY account, region, id, remote")
    return [
        WantedTunnel(InstanceKey(account, region, instance_id), remote, local)
        for account, region, instance_id, remote, local in rows
    ]
