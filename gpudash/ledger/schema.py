"""The ledger's tables, as a chain of migrations.

``PRAGMA user_version`` says how many of them a file has had. A migration, once released, is never edited: a change of
the tables is a new one at the end. Each is a tuple of single statements, all run in one transaction.
"""

from __future__ import annotations

_INTENTS = (
    """CREATE TABLE operations (
        id TEXT PRIMARY KEY,
        verb TEXT NOT NULL,
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        token TEXT,
        is_open INTEGER NOT NULL,
        requested_at TEXT NOT NULL,
        body TEXT NOT NULL,
        owner TEXT,
        claimed_at TEXT,
        claimed_until TEXT
    ) STRICT""",
    "CREATE INDEX operations_open ON operations (account) WHERE is_open",
    "CREATE INDEX operations_newest ON operations (requested_at)",
    "CREATE UNIQUE INDEX launch_once ON operations (token) WHERE verb = 'launch'",
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        account TEXT NOT NULL,
        region TEXT,
        id TEXT,
        name TEXT NOT NULL,
        actor TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX events_newest ON events (at, number)",
    "CREATE INDEX events_of_one ON events (account, region, id, at)",
)

_MONEY = (
    """CREATE TABLE watched (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        observed_at TEXT NOT NULL,
        PRIMARY KEY (account, region)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE meters (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        seen_at TEXT NOT NULL,
        missing_since TEXT,
        gone_at TEXT,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE intervals (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        usd_per_hour TEXT,
        source TEXT,
        estimated INTEGER NOT NULL,
        start_at TEXT NOT NULL,
        end_at TEXT
    ) STRICT""",
    "CREATE INDEX intervals_of_one ON intervals (account, region, id, start_at)",
    "CREATE INDEX intervals_by_end ON intervals (end_at)",
    "CREATE UNIQUE INDEX one_open_interval ON intervals (account, region, id, kind) WHERE end_at IS NULL",
    """CREATE TRIGGER intervals_are_never_rewritten BEFORE UPDATE ON intervals
    WHEN old.end_at IS NOT NULL OR new.end_at IS NULL OR new.end_at < old.start_at
        OR (old.number, old.account, old.region, old.id, old.kind, old.state, old.estimated, old.start_at)
            IS NOT (new.number, new.account, new.region, new.id, new.kind, new.state, new.estimated, new.start_at)
        OR old.usd_per_hour IS NOT new.usd_per_hour OR old.source IS NOT new.source
    BEGIN SELECT RAISE(ABORT, 'an interval is closed once and never rewritten'); END""",
)

_MEMORY = (
    """CREATE TABLE listings (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        complete INTEGER NOT NULL,
        asked_at TEXT NOT NULL,
        fetched_at TEXT NOT NULL,
        problem TEXT,
        items TEXT NOT NULL,
        PRIMARY KEY (account, region)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE statuses (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        seen_at TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE policies (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE adopted (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE wanted_tunnels (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        remote INTEGER NOT NULL,
        local INTEGER NOT NULL,
        PRIMARY KEY (account, region, id, remote)
    ) STRICT, WITHOUT ROWID""",
)

_SETTLED = (
    """CREATE TABLE settled (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        usd TEXT NOT NULL,
        estimated INTEGER NOT NULL,
        unknown INTEGER NOT NULL,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
)
"""The sum over an instance's closed intervals, so that nobody adds up a year of spot prices to draw a row. Made when it
is first needed; an instance without a row is added up."""

_ABSENT = (
    """CREATE TABLE absences (
        account TEXT NOT NULL,
        region TEXT NOT NULL,
        id TEXT NOT NULL,
        since TEXT NOT NULL,
        PRIMARY KEY (account, region, id)
    ) STRICT, WITHOUT ROWID""",
)
"""Rows that are shown although the last good listing lacked them, and when the first one did: a command sees one listing
and ends, so the proof of an absence goes over several."""

MIGRATIONS = (_INTENTS, _MONEY, _MEMORY, _SETTLED, _ABSENT)
"""In order; a file's ``user_version`` counts those it has had."""

TABLES = (
    "operations",
    "events",
    "watched",
    "meters",
    "intervals",
    "settled",
    "listings",
    "absences",
    "statuses",
    "policies",
    "adopted",
    "wanted_tunnels",
)
"""Every table; each has a column ``account``."""
