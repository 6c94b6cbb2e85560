"""Pools and endpoints: serverless workers, their queue, what they cost, and what is paid for without a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from gpudash.fleet.changes import ChangeSet
from gpudash.model.capability import Verb
from gpudash.model.endpoint import DAY, Bounds, Endpoint
from gpudash.model.instance import InstanceKey
from gpudash.model.money import NOTHING_SPENT, Amount
from gpudash.ui import format as fmt
from gpudash.ui.actions import READ_ONLY, again, bindings
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen

_STATES = (
    ("running", "●", "tone-good"),
    ("idle", "◐", "tone-warn"),
    ("initializing", "◌", "tone-warn"),
    ("throttled", "▽", "muted"),
    ("unhealthy", "✖", "tone-bad"),
    ("other", "?", "unknown"),
)


def _workers(endpoint: Endpoint, scene: Scene, width: int) -> Line:
    if endpoint.counts is None:
        return ((fmt.UNKNOWN, "unknown"),)
    parts = [
        (f"{glyph} {count} {state}  ", token)
        for state, glyph, token in _STATES
        if (count := getattr(endpoint.counts, state))
    ]
    return tuple(parts) or (("none", "muted"),)


def _bounds(endpoint: Endpoint, scene: Scene, width: int) -> Line:
    low, high = endpoint.bounds.low, endpoint.bounds.high
    return (
        (fmt.UNKNOWN if low is None else str(low), "money-risk" if low else "text"),
        (f"–{fmt.UNKNOWN if high is None else high}", "text"),
    )


def _idle(endpoint: Endpoint, scene: Scene, width: int) -> Line:
    seconds = endpoint.bounds.idle_timeout_s
    return ((fmt.NOTHING if seconds is None else f"{seconds} s", "text"),)


def _jobs(field: str) -> Any:
    def jobs(endpoint: Endpoint, scene: Scene, width: int) -> Line:
        if endpoint.jobs is None:
            return ((fmt.UNKNOWN if endpoint.has_queue else fmt.NOTHING, "muted"),)
        return ((str(getattr(endpoint.jobs, field)), "text"),)

    return jobs


def _count(field: str) -> Any:
    return lambda endpoint: None if endpoint.jobs is None else getattr(endpoint.jobs, field)


def _warm(endpoint: Endpoint, scene: Scene, width: int) -> Line:
    if not endpoint.kept_warm:
        return ((fmt.NOTHING, "muted"),)
    price = endpoint.warm_price
    return ((fmt.UNKNOWN if price is None else per_day(price.usd_per_hour * DAY, price.estimated), "money-risk"),)


def _word(endpoint: Endpoint, scene: Scene, width: int) -> Line:
    if endpoint.problem:
        return ((endpoint.problem, "tone-warn"),)
    return ((endpoint.warning, "money-risk"),) if endpoint.warning else ()


def _hour(endpoint: Endpoint) -> float | None:
    return None if endpoint.price_now is None else float(endpoint.price_now.usd_per_hour)


def _a_day(endpoint: Endpoint) -> float | None:
    return None if endpoint.warm_price is None else float(endpoint.warm_price.usd_per_hour * DAY)


def per_day(usd: Any, estimated: bool) -> str:
    """``~$26.40``."""
    return fmt.money(Amount(usd, estimated))


class EndpointsScreen(ListScreen[Endpoint]):
    """One row an endpoint, the dearest first."""

    title_text = "Pools and endpoints"
    row_name = "endpoint"
    first_sort = "price"
    first_falling = True
    kind = "endpoints"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("endpoints"), again("pools")]
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column("name", "NAME", 14, lambda e, s, w: ((e.name, "value"),), lambda e: e.name, weight=1, grow=12),
        Column("workers", "WORKERS", 18, _workers, lambda e: e.counts.total if e.counts else None, weight=1, grow=24),
        Column("bounds", "MIN–MAX", 7, _bounds, lambda e: e.bounds.low, weight=1),
        Column("idle", "IDLE", 6, _idle, lambda e: e.bounds.idle_timeout_s, weight=4, right=True),
        Column("queue", "QUEUE", 6, _jobs("in_queue"), _count("in_queue"), weight=1, right=True, falling=True),
        Column("busy", "AT WORK", 7, _jobs("in_progress"), _count("in_progress"), weight=4, right=True, falling=True),
        Column(
            "price",
            "$/H",
            7,
            lambda e, s, w: ((fmt.rate(e.price_now), "text"),),
            _hour,
            weight=1,
            right=True,
            falling=True,
        ),
        Column("warm", "WARM A DAY", 10, _warm, _a_day, weight=1, right=True, falling=True),
        Column("gpu", "GPU", 10, lambda e, s, w: ((e.gpu or fmt.UNKNOWN, "text"),), lambda e: e.gpu, weight=5, grow=10),
        Column(
            "account",
            "ACCOUNT",
            9,
            lambda e, s, w: ((e.key.account, "text"),),
            lambda e: e.key.account,
            weight=6,
            grow=4,
        ),
        Column("word", "NOTE", 10, _word, None, weight=7, grow=60),
    )

    async def fetch(self) -> Iterable[tuple[InstanceKey, Endpoint]]:
        book = self.fleet.store.endpoints
        problems = [f"{account}: {problem}" for account, problem in sorted(book.problems.items())]
        self.problem = problems[0] if problems else None
        return list(book.by_key.items())

    def changed(self, changes: ChangeSet) -> None:
        if changes.endpoints:
            self.load()

    def on_mount(self) -> None:
        super().on_mount()
        self.fleet.refresh()

    def right(self, scene: Scene) -> Line:
        endpoints = [row.record for row in self.view.rows.values()]
        burn = sum((endpoint.burn for endpoint in endpoints), Amount())
        spent = Amount()
        for endpoint in endpoints:
            spent += self.fleet.store.accruals.get(endpoint.key, NOTHING_SPENT).at(scene.now)
        return ((f"{fmt.usd_rate(burn)}  ", "value"), (f"spent {fmt.money(spent)}", "muted"))

    def nothing(self) -> str:
        return "No serverless endpoint. Accounts at RunPod show theirs here."

    def opened(self) -> None:
        self.action_bounds()

    def action_bounds(self) -> None:
        """Change worker bounds and the idle timeout."""
        from gpudash.ui.screens.bounds import BoundsScreen

        endpoint = self._chosen(Verb.SCALE)
        if endpoint is None:
            return

        def answered(bounds: Bounds | None) -> None:
            if bounds is not None:
                self.gpudash.carry_out(self._scale(endpoint, bounds))

        self.app.push_screen(BoundsScreen(endpoint), answered)

    def action_purge(self) -> None:
        """Take back all jobs that wait, after a question."""
        from gpudash.ui.screens.bounds import ConfirmPurge

        endpoint = self._chosen(Verb.PURGE)
        if endpoint is None:
            return
        if not endpoint.has_queue:
            self.gpudash.say(f"{endpoint.name} balances requests and has no queue of jobs.", "tone-warn")
            return

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self.gpudash.carry_out(self._purge(endpoint))

        self.app.push_screen(ConfirmPurge(endpoint), answered)

    def _chosen(self, verb: Verb) -> Endpoint | None:
        """The endpoint under the cursor, as it is at this key press; None where nothing may be done, with the reason."""
        endpoint = self.chosen()
        if endpoint is None:
            return None
        reason = READ_ONLY if self.fleet.session.read_only else self.fleet.reason_against_endpoint(verb, endpoint)
        if reason is not None:
            self.gpudash.say(reason, "tone-warn")
            return None
        return endpoint

    async def _scale(self, endpoint: Endpoint, bounds: Bounds) -> None:
        await self.fleet.scale(endpoint, bounds)
        self.gpudash.say(f"Setting {bounds} of {endpoint.name} …", "muted")

    async def _purge(self, endpoint: Endpoint) -> None:
        await self.fleet.purge(endpoint)
        self.gpudash.say(f"Purging the queue of {endpoint.name} …", "muted")
