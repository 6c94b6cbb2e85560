"""Takes away what ended instances left at a cloud, by whoever sees the end first, until nothing of ours is left.

That it is due stands on disk (one empty file an account and region), so that a program which dies in between, or a
command which cannot wait, leaves it to the next one that acts: dashboard, watchdog or another command. A round that
leaves something is an alarm in the diary and is tried again; meanwhile it stands among the leftovers with its cost.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from gpudash.errors import GpudashError
from gpudash.fleet.desk import Desk
from gpudash.fleet.pace import backoff_s
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.providers.base import CleansUp, CleanUp

AGAIN_FIRST_S, AGAIN_MOST_S = 10.0, 600.0
"""Waits between rounds that left something behind. EC2 lets go of an interface some seconds after its instance."""
AFTER_LAUNCH_S = 15.0
"""How long a round waits for a launch under way, which may lean on what would be taken away."""
WHERE = "@"

Place = tuple[str, str]


@dataclass
class _Due:
    """One account and region where something may be left."""

    next_at: float
    rounds: int = 0
    told: frozenset[str] = frozenset()
    """What the diary has heard of already."""


class Tidier:
    """Of one session. Safe from several threads; `due` touches no disk."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk, self._folder = desk, folder
        self._lock = threading.Lock()
        self._due = {place: _Due(0.0) for place in self._left_behind() if place[0] in desk.accounts}

    def note(self, account: str, region: str) -> None:
        """An instance of ours has ended there, or its launch was refused.

        Nothing where the session may not change the account.
        """
        if self._forbidden(account):
            return
        self._mark(account, region).touch()
        with self._lock:
            self._due[account, region] = _Due(self._desk.clock.monotonic())

    def due(self) -> list[Place]:
        """Where a round should begin now."""
        if not self._due or self._desk.read_only:
            return []
        now = self._desk.clock.monotonic()
        with self._lock:
            return [place for place, due in self._due.items() if due.next_at <= now and not self._forbidden(place[0])]

    def tidy(self, account: str, region: str, waits: bool = False) -> CleanUp | None:
        """One round; blocking. None where there was nothing to ask. Where the cloud did not say what is left, the
        region stands for it.

        `waits`: child instances are still there, so another round must follow whatever this one finds.
        """
        with self._lock:
            due = self._due.get((account, region))
        if due is None:
            return None
        if self._is_launching(account, region):
            due.next_at = self._desk.clock.monotonic() + AFTER_LAUNCH_S
            return None
        try:
            provider = self._desk.accounts[account]
            done = provider.clean_up(region) if isinstance(provider, CleansUp) else CleanUp((), ())
        except GpudashError as exc:
            self._again(account, due, {str(exc)})
            return CleanUp((), ((region, str(exc)),))
        if done.deleted:
            self._say(
                "clean-up", f"took away what ended instances left in {region}: {', '.join(done.deleted)}", account
            )
        if done.failed:
            self._again(account, due, {reason for _, reason in done.failed})
        elif done.waiting or waits:
            self._again(account, due, set())
        else:
            self._settled(account, region, due)
        return done

    def _again(self, account: str, due: _Due, reasons: set[str]) -> None:
        due.rounds += 1
        wait = backoff_s(due.rounds, first_s=AGAIN_FIRST_S, most_s=AGAIN_MOST_S)
        due.next_at = self._desk.clock.monotonic() + wait
        # The first round is often a little early; only what is still there at the second one is worth an alarm.
        if due.rounds > 1 and not reasons <= due.told:
            due.told = frozenset(reasons)
            words = " ".join(sorted(reasons))
            self._say("alarm", f"{words} It may go on billing and is tried again; gpudash leftovers shows it.", account)

    def _settled(self, account: str, region: str, due: _Due) -> None:
        with self._lock:
            if self._due.get((account, region)) is due:
                del self._due[account, region]
                self._mark(account, region).unlink(missing_ok=True)

    def _is_launching(self, account: str, region: str) -> bool:
        operations = self._desk.ledger.open_operations(account)
        return any(op.verb is Verb.LAUNCH and op.region == region and op.key is None for op in operations)

    def _forbidden(self, account: str) -> bool:
        return self._desk.read_only or self._desk.accounts.read_only(account)

    def _mark(self, account: str, region: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder / f"{quote(account, safe='')}{WHERE}{quote(region, safe='')}"

    def _left_behind(self) -> list[Place]:
        if not self._folder.is_dir():
            return []
        names = (path.name.partition(WHERE) for path in self._folder.iterdir() if WHERE in path.name)
        return [(unquote(account), unquote(region)) for account, _, region in names]

    def _say(self, kind: str, text: str, account: str) -> None:
        self._desk.ledger.add_event(Event(self._desk.clock.now(), kind, text, account, actor=self._desk.actor))
