"""What was spent, by instance, account or day, over a span; above it the month so far against each account's budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import BindingType

from gpudash.fleet.record import Record
from gpudash.fleet.spending import Month, Spending, at_month_end, month_start
from gpudash.fleet.totals import burn_of
from gpudash.ledger import CostBy, CostLine
from gpudash.model.money import Amount
from gpudash.ui import cells
from gpudash.ui import format as fmt
from gpudash.ui.actions import Action, again, bindings
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene, Span
from gpudash.ui.screens.dialog import Lines
from gpudash.ui.screens.listing import ListScreen

RELOAD_EVERY_S = 10
"""Beats between two looks into the ledger; what lives with the clock is drawn each second."""


class Period(NamedTuple):
    """A span of time, in days of UTC."""

    id: str
    words: str
    since: Callable[[datetime], datetime]
    until: Callable[[datetime], datetime] = lambda now: now


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


PERIODS = (
    Period("month", "this month", month_start),
    Period("last-month", "last month", lambda now: month_start(month_start(now) - timedelta(days=1)), month_start),
    Period("30d", "the last 30 days", lambda now: now - timedelta(days=30)),
    Period("7d", "the last 7 days", lambda now: now - timedelta(days=7)),
    Period("today", "today", _midnight),
)


class CostRow(NamedTuple):
    """One line: what the ledger says, and what is known of it now."""

    line: CostLine
    dearest: Decimal
    """The dearest line's sum, for the bars."""
    record: Record | None = None
    month: Month | None = None
    burn: Amount | None = None
    """USD an hour now."""


def _dollars(amount: Amount | None) -> float | None:
    return None if amount is None or amount.known is None else float(amount.usd)


def _money(amount: Amount | None, token: str = "text") -> Line:
    if amount is None:
        return cells.NOTHING
    if amount.known is None:
        return cells.UNKNOWN
    return ((fmt.money(amount), "unknown" if amount.unknown else token),)


def _sum_column(
    column_id: str, title: str, what: Callable[[CostRow], Amount | None], *, weight: int, look: str = "text"
) -> Column[CostRow]:
    return Column(
        column_id,
        title,
        11,
        lambda row, scene, width: _money(what(row), look),
        lambda row: _dollars(what(row)),
        weight=weight,
        right=True,
        falling=True,
    )


def _bar(row: CostRow, scene: Scene, width: int) -> Line:
    share = float(row.line.total.usd / row.dearest) if row.dearest else 0.0
    full, _ = fmt.gauge(share, width)
    return ((full, "gauge-on"),)


def _used(row: CostRow, scene: Scene, width: int) -> Line:
    return budget_gauge(row.month, 6) if row.month is not None and row.month.budget is not None else cells.NOTHING


def budget_gauge(month: Month, bar: int) -> Line:
    """``▰▰▰▱▱  62%``; red where the budget is exceeded."""
    used = month.used
    if used is None:
        return cells.NOTHING
    token = "tone-bad" if month.is_over else "tone-warn" if used >= 0.8 else "tone-good"
    full, empty = fmt.gauge(used, bar)
    return ((full, token), (empty, "gauge-off"), (f" {min(used, 9.99):4.0%}{' over' if month.is_over else ''}", token))


def _state(row: CostRow, scene: Scene, width: int) -> Line:
    return (("gone", "muted"),) if row.record is None else cells.state(row.record, scene, width)


def _rate(row: CostRow, scene: Scene, width: int) -> Line:
    return cells.NOTHING if row.burn is None or not (row.burn.usd or row.burn.unknown) else _money(row.burn)


_COMPUTE = _sum_column("compute", "COMPUTE", lambda row: row.line.compute, weight=3)
_DISK = _sum_column("disk", "DISK", lambda row: row.line.storage, weight=3)
_TOTAL = _sum_column("total", "SPENT", lambda row: row.line.total, weight=1, look="value")
_BAR: Column[CostRow] = Column("bar", "", 8, _bar, None, weight=4, grow=40)
_NOW: Column[CostRow] = Column(
    "now", "$/H NOW", 9, _rate, lambda row: _dollars(row.burn), weight=2, right=True, falling=True
)


class CostsScreen(ListScreen[CostRow]):
    """One grouping; Tab turns to the next, `m` to the next span."""

    by: ClassVar[CostBy]
    kind = "costs"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("costs"), again("costs")]
    DEFAULT_CSS = """
    CostsScreen #sums { background: $ground-panel; }
    """

    def __init__(self, period: int = 0) -> None:
        super().__init__()
        self.period = period
        self.report: Spending | None = None
        self._beats = 0

    def compose(self) -> ComposeResult:
        heading, *rest = super().compose()
        yield heading
        yield Lines(self._sums, height=2, id="sums")
        yield from rest

    async def fetch(self) -> Iterable[tuple[object, CostRow]]:
        now, period = self.gpudash.scene.now, PERIODS[self.period]
        self.report = await self.fleet.spending(period.since(now), period.until(now))
        for sums in self.query("#sums").results(Lines):
            sums.update_lines()
        lines = self.report.lines(self.by)
        dearest = max((line.total.usd for line in lines), default=Decimal(0))
        return [(self._key(line), self._row(line, dearest)) for line in lines]

    def _key(self, line: CostLine) -> object:
        return line.key or line.label

    def _row(self, line: CostLine, dearest: Decimal) -> CostRow:
        return CostRow(line, dearest)

    def beat(self) -> None:
        super().beat()
        self._beats += 1
        if self._beats % RELOAD_EVERY_S == 0:
            self.load()

    def right(self, scene: Scene) -> Line:
        if self.report is None:
            return (("adding up …", "muted"),)
        age = fmt.length(scene.real(scene.now - self.report.as_of))
        return ((f"{PERIODS[self.period].words} (UTC)", "value"), (f" · as of {age} ago", "muted"))

    def nothing(self) -> str:
        return f"Nothing was spent in {PERIODS[self.period].words}."

    def can_act(self, action: Action) -> bool:
        return super().can_act(action) and (action.id != "open" or self.by is CostBy.INSTANCE)

    def opened(self) -> None:
        """Only a line of one instance has a page."""
        if self.chosen() is not None:
            self.gpudash.say("These are sums of several instances; Tab groups by instance.", "muted")

    def action_next_view(self) -> None:
        """The same span, grouped otherwise."""
        self._turn(1)

    def action_previous_view(self) -> None:
        """The grouping before."""
        self._turn(-1)

    def _turn(self, step: int) -> None:
        order = [screen.by for screen in VIEWS]
        self.app.switch_screen(VIEWS[(order.index(self.by) + step) % len(VIEWS)](self.period))

    def action_next_period(self) -> None:
        """Another span of time."""
        self.period = (self.period + 1) % len(PERIODS)
        self.load()

    def burn(self, account: str | None = None) -> Amount:
        """USD an hour now, of one account or of all."""
        records = self.fleet.store.records.values()
        return sum((burn_of(record) for record in records if account in (None, record.key.account)), Amount())

    def _sums(self, scene: Scene, width: int) -> list[Line]:
        report = self.report
        if report is None:
            return []
        parts: list[Span] = [(" spent ", "label"), *_money(report.total, "value")]
        if self.period != 0:
            parts += [("   this month ", "label"), *_money(report.month, "value")]
        parts += [("   burn ", "label"), (fmt.usd_rate(self.burn()), "text")]
        if report.total.unknown:
            parts.append(("   +? prices unknown", "unknown"))
        elif report.total.estimated:
            parts.append(("   ~ some of it is an estimate", "muted"))
        return [tuple(parts), self._budgets(report)]

    def _budgets(self, report: Spending) -> Line:
        known = [month for month in report.months if month.budget is not None]
        if not known:
            return ((" no budget: monthly_budget_usd under [accounts.NAME] of config.toml sets one", "muted"),)
        parts: list[Span] = [(" ", "text")]
        for month in sorted(known, key=lambda month: -(month.used or 0)):
            parts += [
                (f"{month.account} ", "label"),
                (f"{fmt.money(month.spent)} of ${month.budget:,.0f} ", "text"),
                *budget_gauge(month, 5),
                ("   ", "text"),
            ]
        return tuple(parts)


class CostsByInstance(CostsScreen):
    """One line an instance, those that are gone included."""

    by = CostBy.INSTANCE
    title_text = "Costs by instance"
    first_sort = "total"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column(
            "name", "INSTANCE", 16, lambda r, s, w: ((r.line.label, "value"),), lambda r: r.line.label, weight=1, grow=16
        ),
        Column(
            "account", "ACCOUNT", 9, lambda r, s, w: ((r.line.account or "", "text"),), lambda r: r.line.account,
            weight=1, grow=6,
        ),
        Column(
            "state", "STATE", 13, _state, lambda r: "gone" if r.record is None else r.record.instance.state.value,
            weight=2,
        ),
        _NOW,
        _COMPUTE,
        _DISK,
        _TOTAL,
        Column(
            "projected", "AT DEADLINE", 11,
            lambda r, s, w: cells.NOTHING if r.record is None else cells.projected(r.record, s, w), None,
            weight=4, right=True,
        ),
        Column(
            "source", "PRICE FROM", 12,
            lambda r, s, w: ((r.record.instance.price.source if r.record and r.record.instance.price else "–", "muted"),),
            None, weight=6, grow=10,
        ),
        _BAR._replace(weight=5),
    )  # fmt: skip

    def _row(self, line: CostLine, dearest: Decimal) -> CostRow:
        record = self.fleet.store.records.get(line.key) if line.key else None
        return CostRow(line, dearest, record=record, burn=None if record is None else burn_of(record))

    def opened(self) -> None:
        row = self.chosen()
        if row is not None:
            self.open_instance(row.line.key, row.line.label)


class CostsByAccount(CostsScreen):
    """One line an account, with its month and budget."""

    by = CostBy.ACCOUNT
    title_text = "Costs by account"
    first_sort = "total"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column(
            "account", "ACCOUNT", 12, lambda r, s, w: ((r.line.label, "value"),), lambda r: r.line.label, weight=1,
            grow=8,
        ),
        _NOW,
        _COMPUTE,
        _DISK,
        _TOTAL,
        _sum_column("month", "THIS MONTH", lambda r: r.month.spent if r.month else None, weight=2),
        Column(
            "budget", "BUDGET", 9,
            lambda r, s, w: ((f"${r.month.budget:,.0f}" if r.month and r.month.budget is not None else "–", "text"),),
            lambda r: float(r.month.budget) if r.month and r.month.budget is not None else None,
            weight=2, right=True, falling=True,
        ),
        Column("used", "USED", 17, _used, lambda r: r.month.used if r.month else None, weight=2, falling=True),
        Column(
            "end", "MONTH'S END", 11,
            lambda r, s, w: _money(at_month_end(r.month, r.burn, s.now)) if r.month and r.burn else cells.NOTHING,
            None, weight=5, right=True,
        ),
        _BAR._replace(weight=6),
    )  # fmt: skip

    def _row(self, line: CostLine, dearest: Decimal) -> CostRow:
        assert self.report is not None
        month = next((month for month in self.report.months if month.account == line.label), None)
        return CostRow(line, dearest, month=month, burn=self.burn(line.label))


class CostsByDay(CostsScreen):
    """One line a day, the newest first."""

    by = CostBy.DAY
    title_text = "Costs by day"
    first_sort = "day"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column(
            "day", "DAY", 14,
            lambda r, s, w: ((f"{datetime.fromisoformat(r.line.label):%Y-%m-%d %a}", "value"),), lambda r: r.line.label,
            weight=1, falling=True,
        ),
        _COMPUTE,
        _DISK,
        _TOTAL,
        _BAR._replace(weight=2),
    )  # fmt: skip


VIEWS: tuple[type[CostsScreen], ...] = (CostsByInstance, CostsByAccount, CostsByDay)
