"""The fleet: strip, launches under way, table, details, footer."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.timer import Timer

from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Amount
from gpudash.ui import columns
from gpudash.ui import format as fmt
from gpudash.ui.actions import ACTIONS, BY_ID, bindings, reason_against
from gpudash.ui.panels import Extras
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.filtering import Filtering
from gpudash.ui.totals import LiveTotals
from gpudash.ui.verbs import Verbs, held
from gpudash.ui.view import View
from gpudash.ui.widgets.details import Details
from gpudash.ui.widgets.footer import Footer, FooterFacts
from gpudash.ui.widgets.line_table import LineTable
from gpudash.ui.widgets.paint import PaintedBlock
from gpudash.ui.widgets.running import Running
from gpudash.ui.widgets.strip import Strip, StripFacts

LOOK_AGAIN = 100
"""Rows that are asked again in each beat for what moves with the clock alone: their place, and whether they fit."""
MANY_ROWS = 1000
"""Above so many, what a change set moves is drawn with the next beat."""
WARMED = 1000
"""Rows in one slice of getting ready for a filter."""
SEARCH_PAUSE_S = 0.002
"""Between two slices of a slow filter, so that keys come first."""
COUNT_PAUSE_S = 0.02
"""Between two slices of the first sum over a large fleet."""
DETAIL_DELAY_S = 0.15
"""The cursor must rest that long before the ledger is asked for events."""
_IN_FOOTER = sorted((act for act in ACTIONS if act.footer and "fleet" in act.screens), key=lambda act: act.footer)


class Narrowed(PaintedBlock):
    """Says above the rows that only faults are shown."""

    ground = "panel"
    DEFAULT_CSS = "Narrowed { height: 1; display: none; }"

    def __init__(self, view: View[Record]) -> None:
        super().__init__()
        self._view = view

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        shown, there = len(self._view.order), len(self._view.rows)
        return [((" ! ", "key"), (f"faults only: {shown} of {there}", "tone-warn"), (" · ! shows all", "muted"))]


class FleetScreen(Filtering, Verbs):
    """Every instance of every account."""

    filter_hint = "words, column:value, price<3, ! negates"

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("fleet")]
    DEFAULT_CSS = """
    FleetScreen.-short Details { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.view: View[Record] = View(columns.FIELDS, columns.needle)
        self.view.sort_by(columns.FIRST, columns.SORT_FIRST)
        self.table: LineTable[Record] = LineTable(self.view, columns.FLEET, lookup=self._lookup, id="table")
        self.strip = Strip(id="strip")
        self.running = Running(id="running")
        self.narrowed = Narrowed(self.view)
        self.details = Details(id="details")
        self.footer = Footer(id="footer")
        self.totals = LiveTotals(self.view)
        self._is_searching = False
        self._order_is_old = False
        self._events: tuple[Event, ...] = ()
        self._ssh: Sequence[str] = ()
        self._asked_for: object = None
        self._details_height = 0
        self._rest: Timer | None = None
        """Runs until the cursor rests."""
        self._moved_at = 0.0

    def compose(self) -> ComposeResult:
        yield self.strip
        yield self.running
        yield self.narrowed
        yield self.table
        yield self.details
        yield self.footer

    def on_mount(self) -> None:
        self.table.empty = self._empty
        self.table.on_cursor = self._cursor_moved
        self.restore()
        self.view.replace_all(dict(self.fleet.store.records))
        self.view.rebuild(self.gpudash.scene.now)
        self.totals.begin(self.gpudash.scene.now)
        if not self.totals.is_complete:
            self.set_timer(COUNT_PAUSE_S, self._count_on)
        self.table.order_changed()
        self.table.focus()
        self._show_all()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < 20, "-short")
        self._share_height(event.size.height)

    def _share_height(self, height: int) -> None:
        """The details get what few rows leave over, and never less than their least."""
        least = 7 if height < 30 else 10 if height < 42 else 13
        spare = height - len(self.view.order) - 8
        wanted = max(least, min(spare, 15)) if height >= 30 else least
        if self._details_height != wanted:
            self._details_height = wanted
            self.details.styles.height = wanted

    # -- beats and changes --------------------------------------------------------------------------------------

    def beat(self) -> None:
        self.totals.look_again(self.gpudash.scene.now)
        if self.view.look_again(self.gpudash.scene.now, LOOK_AGAIN) or self._order_is_old:
            self._rebuild()
        else:
            self.table.update_lines()
        self._show_all()
        record = self.table.record
        if record is not None and self._asked_for != _story_of(record):
            self._ask_details()

    def changed(self, changes: ChangeSet) -> None:
        moved = False
        records = self.fleet.store.records
        now = self.gpudash.scene.now
        for key in changes.removed:
            self.totals.changed(key, None, now)
            moved |= self.view.drop(key)
            self.table.marks.discard(key)
        for key in changes.added | changes.changed:
            record = records.get(key)
            if record is not None:
                self.totals.changed(key, record, now)
                moved |= self.view.put(key, record)
        if moved and len(self.view.rows) > MANY_ROWS:
            # Sorting ten thousand rows for each page of a refresh would be felt in the keys; the next beat does it.
            self._order_is_old = True
        elif moved:
            self._rebuild(same_moment=True)
        else:
            self.table.records_changed()
        if len(self.view.rows) <= MANY_ROWS:
            self._show_all()

    def _rebuild(self, *, same_moment: bool = False) -> None:
        self._order_is_old = False
        self.view.rebuild(self.gpudash.scene.now)
        self._order_changed(same_moment=same_moment)

    def _order_changed(self, *, same_moment: bool) -> None:
        self.table.order_changed(same_moment=same_moment)
        if self.view.is_searching and not self._is_searching:
            self._is_searching = True
            self.set_timer(SEARCH_PAUSE_S, self._search_on)
        if not self.view.filter:
            self._share_height(self.size.height)
        self.show_count()

    def _count_on(self) -> None:
        """Ten thousand rows are added up slice by slice, beside the keys."""
        self.totals.count_on(self.gpudash.scene.now)
        if self.totals.is_complete:
            self._show_strip()
        else:
            self.set_timer(COUNT_PAUSE_S, self._count_on)

    def _warm_on(self) -> None:
        """While the filter opens, and after: what its first letter will look through."""
        if self.view.warm(WARMED):
            self.set_timer(SEARCH_PAUSE_S, self._warm_on)

    def _search_on(self) -> None:
        """A slow filter goes on between two keys."""
        self._is_searching = False
        self.view.search_on(self.gpudash.scene.now)
        self._order_changed(same_moment=True)
        self.show_count()

    def _lookup(self, key: object) -> Record | None:
        return self.fleet.store.records.get(cast(InstanceKey, key))

    # -- what stands around the table ---------------------------------------------------------------------------

    def _show_all(self) -> None:
        self._show_strip()
        self.running.refresh_height()
        self._show_details()
        self._show_footer()

    def _show_strip(self) -> None:
        store = self.fleet.store
        totals = self.totals.at(store, self.gpudash.scene.now)
        burns = tuple(self.totals.burns)
        fresh = any(lane.as_of is not None and lane.state == "ok" for lane in store.health.values())
        oldest = [lane.as_of for lane in store.health.values() if lane.as_of is not None]
        self.strip.facts = StripFacts(
            totals=totals,
            health=tuple(store.health.values()),
            burns=burns,
            badge=self.gpudash.options.badge,
            notes=self.fleet.store.notes,
            as_of=None if fresh or not oldest else max(oldest),
        )
        self.strip.update_lines()

    def mark_as_old(self) -> None:
        """Say as of when this frame is: it will be seen again at the next start."""
        if self.strip.facts is not None:
            self.strip.facts = self.strip.facts._replace(as_of=self.gpudash.scene.now)
            self.strip.repaint()

    def _show_details(self) -> None:
        self.details.show(self.table.record, Extras(self._events, self._ssh))

    def _show_footer(self) -> None:
        situation = self.situation()
        keys = tuple((action, reason_against(action.id, situation) is None) for action in _IN_FOOTER)
        stop = reason_against("stop", situation) if situation.targets else None
        self.footer.show(FooterFacts(keys, self._lead(), stop or ""))

    def _lead(self) -> Line:
        waiting = held(self.fleet)
        if waiting and waiting[0].next_try_at is not None:
            scene = self.gpudash.scene
            left = max(0, round(scene.real(waiting[0].next_try_at - scene.now).total_seconds()))
            what = waiting[0].name if len(waiting) == 1 else fmt.plural(len(waiting), "instance")
            return (
                ("u", "key"),
                (f" undo: {waiting[0].verb.value} {what} in {left} s", "urgency-now"),
                ("   ", "text"),
            )
        if self.table.marks:
            marked = self.targets()
            rate = sum((_burn(record) for record in marked), Amount())
            rows = [self.view.rows[record.key] for record in marked if record.key in self.view.rows]
            unseen = sum(not self.view.is_shown(row) for row in rows)
            where = f", {unseen} not shown" if unseen else ""
            return ((f"{len(marked)} marked{where} {fmt.usd_rate(rate)}", "accent"), ("   ", "text"))
        return ()

    def _empty(self) -> Sequence[Line]:
        if self.view.is_searching:
            return [(), (("   Looking …", "muted"),)]
        if self.view.rows:
            what = f"“{self.view.filter.text}”" if self.view.filter else "the faults filter"
            return [(), ((f"   Nothing fits {what}. ", "muted"), ("Esc", "key"), (" shows all.", "muted"))]
        if not any(lane.as_of for lane in self.fleet.store.health.values()):
            return [(), (("   Asking the clouds …", "muted"),)]
        return [(), (("   No instance. ", "muted"), ("n", "key"), (" launches one.", "muted"))]

    # -- cursor and marks ---------------------------------------------------------------------------------------

    def targets(self) -> Sequence[Record]:
        if self.table.marks:
            records = self.fleet.store.records
            marked = [records.get(cast(InstanceKey, key)) for key in self.table.marks]
            return sorted((record for record in marked if record is not None), key=lambda record: record.key)
        record = self.table.record
        return [] if record is None else [record]

    def _cursor_moved(self) -> None:
        self._events, self._ssh = (), ()
        self._show_details()
        self._show_footer()
        self._moved_at = monotonic()
        if self._rest is None:
            self._rest = self.set_timer(DETAIL_DELAY_S, self._look_whether_it_rests)

    def _look_whether_it_rests(self) -> None:
        """One timer for all moves of the cursor: a held arrow key would start and stop thirty a second."""
        self._rest = None
        left = self._moved_at + DETAIL_DELAY_S - monotonic()
        if left > DETAIL_DELAY_S / 10:
            self._rest = self.set_timer(left, self._look_whether_it_rests)
        else:
            self._ask_details()

    def _ask_details(self) -> None:
        shown = self.table.record
        record = None if shown is None else self.fleet.store.records.get(shown.key)
        if record is None:
            return
        self._asked_for = _story_of(record)
        self._ssh = tuple(self.fleet.ssh_argv(record.key)) if record.instance.ssh is not None else ()

        async def ask() -> None:
            events_of_it = await self.fleet.events(limit=8, key=record.key)
            if self.table.cursor == record.key:
                self._events = tuple(events_of_it)
                self._show_details()

        self.gpudash.carry_out(ask())

    def done_for(self, key: InstanceKey) -> None:
        """A mark goes once what it was set for is on its way."""
        self.table.unmark(key)

    def on_line_table_marked(self) -> None:
        self._show_footer()

    def on_line_table_opened(self) -> None:
        self.action_details()

    def on_line_table_sort_requested(self, event: LineTable.SortRequested) -> None:
        self.action_sort(event.column_id)

    def go_to(self, key: object) -> None:
        """Put the cursor on that instance, clearing a filter that hides it."""
        if not self.table.select(cast(InstanceKey, key)):
            self.close_filter()
            self.view.only, self.narrowed.display = None, False
            self._rebuild()
            self.table.select(cast(InstanceKey, key))

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_mark_up(self) -> None:
        self.table.extend_marks(-1)

    def action_mark_down(self) -> None:
        self.table.extend_marks(1)

    def action_mark_all(self) -> None:
        self.table.mark_shown()

    # -- view ---------------------------------------------------------------------------------------------------

    def action_sort(self, column_id: str) -> None:
        """Sort by that column; the same again turns it round."""
        again = self.view.sort_id == column_id
        falling = next((c.falling for c in columns.FLEET if c.id == column_id), False)
        self.sort_as(column_id, reverse=not self.view.reverse if again else falling)
        self._rebuild()
        self.remember()
        label = "urgent first" if column_id == columns.FIRST else column_id
        self.gpudash.say(f"Sorted by {label}{', reversed' if again and self.view.reverse else ''}.", "muted")

    def sort_as(self, column_id: str, *, reverse: bool) -> bool:
        """Order by that column; as at the start where there is none."""
        column = next((c for c in columns.FLEET if c.id == column_id and c.sort is not None), None)
        if column is None or column.sort is None:
            self.view.sort_by(columns.FIRST, columns.SORT_FIRST, reverse=reverse and column_id == columns.FIRST)
            return column_id == columns.FIRST
        self.view.sort_by(column_id, column.sort, reverse=reverse)
        return True

    def action_faults(self) -> None:
        self.view.only = None if self.view.only else columns.is_fault
        self.narrowed.display = self.view.only is not None
        self._rebuild()
        if self.view.only:
            self.gpudash.say(f"Faults only: {len(self.view.order)} of {len(self.view.rows)}. ! shows all.", "tone-warn")
        else:
            self.gpudash.say("All instances.", "muted")

    def rebuild(self) -> None:
        self._rebuild()
        self._show_details()

    def show_count(self) -> None:
        self.narrowed.update_lines()
        super().show_count()

    def action_back(self) -> None:
        """Filter, then marks, then faults; nothing else to leave here."""
        if self.is_filtered:
            self.close_filter()
        elif self.table.clear_marks():
            pass
        elif self.view.only:
            self.action_faults()
        else:
            self.gpudash.say(f"{BY_ID['quit'].shown_key} leaves the dashboard.", "muted")

    # -- other screens ------------------------------------------------------------------------------------------

    def action_launch(self) -> None:
        from gpudash.ui.screens.launch import LaunchScreen

        self.app.push_screen(LaunchScreen())

    def action_offers(self) -> None:
        self.action_launch()

    def action_details(self) -> None:
        from gpudash.ui.screens.instance import InstanceScreen

        record = self.table.record
        if record is not None:
            self.app.push_screen(InstanceScreen(record.key))

    def action_tunnels(self) -> None:
        from gpudash.ui.screens.tunnels import TunnelsScreen

        self.app.push_screen(TunnelsScreen())

    def action_events(self) -> None:
        from gpudash.ui.screens.events import EventsScreen

        self.app.push_screen(EventsScreen())

    def action_costs(self) -> None:
        from gpudash.ui.screens.costs import CostsByInstance

        self.app.push_screen(CostsByInstance())

    def action_leftovers(self) -> None:
        from gpudash.ui.screens.leftovers import LeftoversScreen

        self.app.push_screen(LeftoversScreen())

    def action_pools(self) -> None:
        from gpudash.ui.screens.endpoints import EndpointsScreen

        self.app.push_screen(EndpointsScreen())


def _story_of(record: Record) -> object:
    """What, when it changes, makes the details ask the ledger again."""
    return record.key, record.instance.ssh, record.instance.state, record.operation


def _burn(record: Record) -> Amount:
    from gpudash.fleet.totals import burn_of

    return burn_of(record)
