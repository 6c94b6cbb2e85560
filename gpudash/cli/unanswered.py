"""Hosts that had no statusd when a command last asked, so that not every `ls` in a row knocks there again.

A small file beside the ledger. It saves time and proves nothing: an entry is good for a minute, and only the reads of
`ls` look at it.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gpudash import paths
from gpudash.clock import SystemClock, iso, parse_iso

if TYPE_CHECKING:
    from gpudash.fleet.session import Session
    from gpudash.model.instance import InstanceKey

GOOD_FOR = timedelta(minutes=1)
"""Real time; a daemon pushed meanwhile is seen by whoever pushed it."""


def read_hosts(session: Session, timeout_s: float, max_age_s: float) -> None:
    """As `Session.read_hosts`, without the hosts that had nothing to say a moment ago."""
    now = SystemClock().now()
    silent = _load(now)
    keys = [key for key, record in session.store.records.items() if record.status is not None or str(key) not in silent]
    for key in session.store.records.keys() - set(keys):
        session.store.apply_status(key, None, session.clock.now(), silent[str(key)][1])
    session.read_hosts(timeout_s, max_age_s, keys)
    fresh = {str(key): (now, problem) for key in keys if (problem := _problem(session, key)) is not None}
    kept = {name: entry for name, entry in silent.items() if name not in {str(key) for key in keys}}
    if fresh or kept != silent:
        _save({**kept, **fresh})


def forget() -> None:
    """Nothing is known any more (the sandbox was reset)."""
    _file().unlink(missing_ok=True)


def _file() -> Path:
    return paths.state_dir() / "unanswered.json"


def _problem(session: Session, key: InstanceKey) -> str | None:
    record = session.store.records.get(key)
    return record.status_problem if record is not None and record.status is None else None


def _load(now: datetime) -> dict[str, tuple[datetime, str]]:
    try:
        body = json.loads(_file().read_text())
        entries = {str(key): (parse_iso(at), str(problem)) for key, (at, problem) in body.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {key: entry for key, entry in entries.items() if timedelta(0) <= now - entry[0] < GOOD_FOR}


def _save(entries: dict[str, tuple[datetime, str]]) -> None:
    path = _file()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump({key: [iso(at), problem] for key, (at, problem) in entries.items()}, stream)
    draft.replace(path)
