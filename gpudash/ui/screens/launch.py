"""Launch: the board of offers, the order below it, then its steps. Esc leaves a launch running in the background.

Typing filters the board, arrows move on it, Enter goes to the order and Enter again launches. What the lease costs
stands there before anything is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Input

from gpudash.config import models as registry
from gpudash.errors import GpudashError
from gpudash.model.capability import Verb
from gpudash.model.duration import format_duration, parse_duration
from gpudash.model.fit import Model, Precision, fits, use_of
from gpudash.model.money import cost
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.policy import EndAction
from gpudash.ui import format as fmt
from gpudash.ui.actions import BY_ID, READ_ONLY, bindings
from gpudash.ui.columns import Column
from gpudash.ui.panels import cells_of
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dialog import Lines
from gpudash.ui.screens.launch_options import LaunchOptionsScreen, Wishes
from gpudash.ui.screens.listing import ListScreen
from gpudash.ui.verbs import HOLD_S
from gpudash.ui.view import Fields, Filter
from gpudash.ui.widgets.filter_bar import FilterBar
from gpudash.ui.widgets.footer import FooterFacts

_ASKED_ALREADY = "It is asked for already; Esc goes back to the table."
_ACTIONS = (EndAction.STOP, EndAction.HIBERNATE, EndAction.TERMINATE)


def _hour(offer: Offer) -> float | None:
    total = offer.total
    return None if total is None else float(total.usd_per_hour)


def _share(usd: Decimal | None, places: int) -> Line:
    return ((fmt.UNKNOWN, "unknown"),) if usd is None else ((f"{usd:,.{places}f}", "text"),)


def _number(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)


def _price(offer: Offer, scene: Scene, width: int) -> Line:
    return ((fmt.rate(offer.total), "unknown" if offer.price is None else "value"),)


def _gpu(offer: Offer, scene: Scene, width: int) -> Line:
    return ((f"{offer.gpu_count}×{offer.gpu}", "value"),)


def _kind(offer: Offer, scene: Scene, width: int) -> Line:
    return (("spot", "tone-warn"),) if offer.spot else (("on demand", "text"),)


def _stock(offer: Offer, scene: Scene, width: int) -> Line:
    if offer.available is None:
        return ((fmt.UNKNOWN, "unknown"),)
    return (("now", "tone-good"),) if offer.available else (("none", "tone-bad"),)


def _machine(offer: Offer, scene: Scene, width: int) -> Line:
    parts = [f"{offer.vcpus} vCPU" if offer.vcpus else "", f"{offer.memory_gb} GB" if offer.memory_gb else "",
             f"{offer.disk_gb} GB disk" if offer.disk_gb else "", *_host(offer)]  # fmt: skip
    return ((" · ".join(part for part in parts if part) or fmt.NOTHING, "muted"),)


def _host(offer: Offer) -> list[str]:
    """What only clouds tell where hosts differ."""
    rated = f"{offer.reliability * 100:.1f}% reliable" if offer.reliability is not None else ""
    return [
        "unverified" if offer.verified is False else "",
        rated,
        f"CUDA {offer.cuda}" if offer.cuda is not None else "",
        f"{offer.down_mbps}↓ {offer.up_mbps}↑ Mbps" if offer.down_mbps and offer.up_mbps else "",
    ]


def _traffic(offer: Offer) -> float | None:
    told = [price for price in (offer.down_usd_per_gb, offer.up_usd_per_gb) if price is not None]
    return float(max(told)) if told else None


COLUMNS: tuple[Column[Offer], ...] = (
    Column("price", "$/H", 7, _price, _hour, weight=1, right=True),
    Column(
        "each",
        "$/GPU",
        6,
        lambda o, s, w: _share(o.usd_per_gpu, 2),
        lambda o: _number(o.usd_per_gpu),
        weight=2,
        right=True,
    ),
    Column(
        "gb", "$/GB", 6, lambda o, s, w: _share(o.usd_per_gb, 4), lambda o: _number(o.usd_per_gb), weight=4, right=True
    ),
    Column("gpu", "GPU", 13, _gpu, lambda o: o.gpu, weight=1, grow=6),
    Column("vram", "VRAM", 5, lambda o, s, w: ((f"{o.vram_gb}G", "text"),), lambda o: o.vram_gb, weight=1, right=True),
    Column("where", "WHERE", 12, lambda o, s, w: ((o.region, "text"),), lambda o: o.region, weight=1, grow=10),
    Column("account", "ACCOUNT", 8, lambda o, s, w: ((o.account, "text"),), lambda o: o.account, weight=1, grow=6),
    Column("kind", "KIND", 9, _kind, lambda o: float(o.spot), weight=2),
    Column("stock", "STOCK", 5, _stock, lambda o: None if o.available is None else float(not o.available), weight=3),
    Column(
        "type", "TYPE", 16, lambda o, s, w: ((o.instance_type, "muted"),), lambda o: o.instance_type, weight=4, grow=16
    ),
    Column("machine", "MACHINE", 16, _machine, None, weight=5, grow=24),
)

FIELDS: Fields[Offer] = Fields(
    words={
        "gpu": lambda o, _: f"{o.gpu_count}x{o.gpu}",
        "region": lambda o, _: o.region,
        "where": lambda o, _: o.region,
        "account": lambda o, _: o.account,
        "type": lambda o, _: o.instance_type,
        "kind": lambda o, _: "spot" if o.spot else "on demand",
        "spot": lambda o, _: "yes" if o.spot else "no",
        "verified": lambda o, _: "unknown" if o.verified is None else "yes" if o.verified else "no",
        "stock": lambda o, _: "unknown" if o.available is None else "now" if o.available else "none",
    },
    numbers={
        "price": lambda o, _: _hour(o),
        "each": lambda o, _: _number(o.usd_per_gpu),
        "gb": lambda o, _: _number(o.usd_per_gb),
        "vram": lambda o, _: o.vram_gb,
        "gpus": lambda o, _: o.gpu_count,
        "disk": lambda o, _: o.disk_gb,
        "cuda": lambda o, _: None if o.cuda is None else float(o.cuda),
        "reliability": lambda o, _: None if o.reliability is None else float(o.reliability),
        "down": lambda o, _: o.down_mbps,
        "up": lambda o, _: o.up_mbps,
        "traffic": lambda o, _: _traffic(o),
    },
)


def fits_test(models: Mapping[str, Model]) -> Callable[[str], Callable[[Offer], bool] | str]:
    """What ``fits:qwen3-32b`` and ``fits:qwen3-32b@fp8`` mean: room for that model with a context of 8192."""

    def make(word: str) -> Callable[[Offer], bool] | str:
        if not models:
            return "reading the models …"
        name, _, precision = word.partition("@")
        try:
            model = registry.find(name, models)
            use = use_of(model, precision=precision or None)
        except ValueError:
            return f"fits:{name}@ wants one of {', '.join(Precision)}"
        except GpudashError as exc:
            return str(exc)
        return lambda offer: fits(model, use, offer)

    return make


class LaunchScreen(ListScreen[Offer]):
    """Board, order, steps."""

    title_text = "Launch"
    row_name = "offer"
    keeps_filter = False
    first_sort = "price"
    columns: ClassVar[Sequence[Column[Any]]] = COLUMNS
    kind = "launch"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("launch")]
    DEFAULT_CSS = """
    LaunchScreen #order { height: 1; background: $ground-surface; margin: 0; padding: 0 1; }
    LaunchScreen #order Lines { width: auto; }
    LaunchScreen #order Input { width: 18; margin: 0 2 0 1; }
    LaunchScreen #order .short { width: 10; }
    LaunchScreen #order Button { min-width: 13; margin: 0 2 0 1; }
    LaunchScreen.-narrow #order Input { width: 14; margin: 0 1 0 1; }
    LaunchScreen.-narrow #order .short { width: 8; }
    LaunchScreen.-narrow #order #options { display: none; }
    LaunchScreen.-narrow #order Button { min-width: 8; width: auto; margin: 0 1 0 1; }
    LaunchScreen #summary { background: $ground-surface; }
    LaunchScreen #launch { color: $accent; }
    LaunchScreen #launch:focus { color: $block-cursor-foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.operation_id: str | None = None
        self.then: EndAction | None = None
        """The idle action that was chosen; None is what the settings say, or the nearest that the cloud has."""
        self.models: Mapping[str, Model] = {}
        self.wishes: dict[str, Wishes] = {}
        """What the options say, by cloud: they differ."""
        self._suggested = ""

    def compose(self) -> ComposeResult:
        defaults = self.fleet.session.config.defaults
        heading, table, footer = super().compose()
        yield heading
        more = ", fits:qwen3-32b, account:lambda" if self.app.size.width >= 120 else ""
        yield FilterBar(placeholder=f"type to filter: h100, gpus>4, <3, spot:no{more}", id="filter")
        yield table
        with Horizontal(id="order"):
            yield from self._field("name", Input(id="name"))
            yield from self._field("lease", Input(format_duration(defaults.lease), id="lease", classes="short"))
            yield from self._field("idle", Input(format_duration(defaults.idle_timeout), id="idle", classes="short"))
            yield from self._field("then", Button(defaults.idle_action.value, id="then"))
            yield Button("Options", id="options")
            yield Button("Launch", id="launch")
        yield Lines(self._summary, height=2, id="summary")
        yield footer

    def _field(self, label: str, widget: Input | Button) -> Iterable[Any]:
        words = Lines(lambda scene, width: [((label, "label"),)], height=1)
        words.styles.width = len(label)
        return words, widget

    def on_mount(self) -> None:
        self.table.on_cursor = self._cursor_moved
        self.call_after_refresh(self.query_one(FilterBar).focus_input)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < 110, "-narrow")

    async def fetch(self) -> Iterable[tuple[Hashable, Offer]]:
        defaults = self.fleet.session.config.defaults
        listings = await self.fleet.offers(OfferFilter(region=defaults.region))
        told = (lst for lst in listings if lst.problem or any(offer.total is None for offer in lst.items))
        self.problem = next((f"{lst.account}: {lst.trouble}" for lst in told if lst.trouble), None)
        await self._read_models()
        offers = [offer for listing in listings for offer in listing.items]
        return [((o.account, o.region, o.instance_type, o.spot, o.id), o) for o in offers]

    def rebuild(self) -> None:
        super().rebuild()
        if self.table.cursor_row is None:
            self.table.move_to(0)
        self._follow_offer()

    def right(self, scene: Scene) -> Line:
        if not self.asked:
            return (("asking all accounts …", "muted"),)
        oldest = min((row.record.as_of for row in self.view.rows.values()), default=scene.now)
        return ((fmt.plural(len(self.view.rows), "offer"), "text"),
                (f" · as of {fmt.length(scene.real(scene.now - oldest))} ago", "muted"))  # fmt: skip

    def nothing(self) -> str:
        return "No offer fits. Another region, GPU or price?"

    async def _read_models(self) -> None:
        """For ``fits:``; what is wrong with a person's own file is said and the rest works."""
        try:
            self.models = await asyncio.get_running_loop().run_in_executor(None, registry.load)
        except GpudashError as exc:
            self.problem = self.problem or str(exc)
        if self.is_open:
            self.filter_text(self.query_one(FilterBar).text)

    def _fields(self) -> Fields[Offer]:
        return FIELDS._replace(tests={"fits": lambda word: fits_test(self.models)(word)})

    def _needle(self, record: Offer) -> str:
        spot = "spot" if record.spot else "on demand"
        return (f"{record.gpu_count}x{record.gpu} {record.gpu_count}×{record.gpu} {record.region} {record.account} "
                f"{record.instance_type} {spot}").lower()  # fmt: skip

    # -- the order ----------------------------------------------------------------------------------------------

    @property
    def order(self) -> LaunchOrder | str | None:
        """The order as it stands, or what is wrong with it; None without an offer."""
        return self._order(self.then)

    def _order(self, then: EndAction | None) -> LaunchOrder | str | None:
        offer = self.table.record
        if offer is None:
            return None
        if self.fleet.session.read_only:
            return READ_ONLY
        reason = self.fleet.reason_against(Verb.LAUNCH, None)
        if reason is not None:
            return reason
        try:
            return self._planned(offer, self.wishes.get(offer.provider, Wishes()), then)
        except GpudashError as exc:
            return str(exc)

    def _planned(self, offer: Offer, wishes: Wishes, then: EndAction | None) -> LaunchOrder:
        return self.fleet.session.actions.plan_launch(
            offer,
            name=self.query_one("#name", Input).value.strip() or None,
            lease=parse_duration(self.query_one("#lease", Input).value, field="lease"),
            idle_timeout=parse_duration(self.query_one("#idle", Input).value, field="idle"),
            idle_action=then,
            max_price=wishes.max_price,
            options=wishes.options,
            others=[row.record for row in self.view.rows.values()] if wishes.may_stand_in else (),
        )

    def _show_action(self) -> None:
        """The button says what the order would do: clouds without a stop terminate."""
        order, button = self.order, self.query_one("#then", Button)
        if isinstance(order, LaunchOrder):
            button.label = order.policy.idle_action.value

    def _next_action(self) -> None:
        """The next idle action that this cloud has."""
        order = self.order
        now = order.policy.idle_action if isinstance(order, LaunchOrder) else self.then
        start = _ACTIONS.index(now) + 1 if now in _ACTIONS else 0
        following = [_ACTIONS[(start + step) % len(_ACTIONS)] for step in range(len(_ACTIONS))]
        self.then = next((then for then in following if isinstance(self._order(then), LaunchOrder)), self.then)
        self._show_action()

    def _follow_offer(self) -> None:
        """Name and idle action for what is under the cursor now."""
        self._suggest()
        if self.then is not None and not isinstance(self.order, LaunchOrder):
            self.then = None
        self._show_action()

    def _suggest(self) -> None:
        """A name for what is under the cursor, until the person types one."""
        offer, field = self.table.record, self.query_one("#name", Input)
        if offer is None or field.value != self._suggested:
            return
        taken = {record.instance.name for record in self.fleet.store.records.values()}
        taken |= {operation.name for operation in self.fleet.store.operations.values()}
        word = "".join(char for char in offer.gpu.lower() if char.isalnum())
        number = next(n for n in range(1, 10_000) if f"{word}-{n}" not in taken)
        self._suggested = f"{word}-{number}"
        field.value = self._suggested

    def _summary(self, scene: Scene, width: int) -> list[Line]:
        return [((" ", "text"), *line) for line in self._words(scene, width)]

    def _words(self, scene: Scene, width: int) -> list[Line]:
        operation = self.fleet.store.operations.get(self.operation_id) if self.operation_id else None
        if operation is not None:
            from gpudash.ui.panels import step_spans

            words = (("Esc leaves it running; its row appears in the table. X ends what it makes.", "muted"),)
            if not operation.stage.is_open:
                words = ((operation.detail or f"{operation.name}: {operation.stage.value}. Esc goes back.", "text"),)
            return [((f"{operation.name}  ", "value"), *step_spans(operation, scene, brief=width < 110)), words]
        order = self.order
        if order is None:
            return [(("no offer", "muted"),), ()]
        if isinstance(order, str):
            return [((order, "tone-warn"),), ()]
        offer = order.offer or self.table.record
        assert offer is not None
        return list(summary_lines(order, offer, scene, width - 1))

    def action_next_field(self) -> None:
        """On to the next field of the order."""
        self.app.action_focus_next()

    def action_previous_field(self) -> None:
        """Back to the field before."""
        self.app.action_focus_previous()

    def action_order(self) -> None:
        """From the board to the button."""
        if self.chosen() is not None:
            self.query_one("#launch", Button).focus()

    def filter_changed(self) -> None:
        self.table.move_to(0)

    def filter_done(self) -> None:
        self.action_order()

    def filter_cleared(self) -> None:
        bar = self.query_one(FilterBar)
        if bar.text:
            bar.text = ""
        else:
            self.leave()

    def opened(self) -> None:
        self.action_order()

    def _cursor_moved(self) -> None:
        self._follow_offer()
        self.query_one("#summary", Lines).update_lines()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#summary", Lines).update_lines()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one("#launch", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "then":
            self._next_action()
            self.query_one("#summary", Lines).update_lines()
        elif event.button.id == "options":
            self.action_options()
        else:
            self._launch()

    def action_options(self) -> None:
        """What only the cloud of the offer under the cursor knows."""
        if self.operation_id is not None:
            self.gpudash.say(_ASKED_ALREADY, "tone-warn")
            return
        offer = self.chosen()
        if offer is None:
            return

        def against(wishes: Wishes) -> str | None:
            try:
                self._planned(offer, wishes, self.then)
            except GpudashError as exc:
                return str(exc)
            cap, price = wishes.max_price, offer.total
            return "The offer costs more than that." if cap and price and price.usd_per_hour > cap else None

        def take(wishes: Wishes | None) -> None:
            if wishes is None:
                return
            self.wishes[offer.provider] = wishes
            self.query_one("#options", Button).label = f"Options·{wishes.count}" if wishes.count else "Options"
            self.query_one("#summary", Lines).update_lines()
            self.query_one("#launch", Button).focus()

        options = self.fleet.session.actions.launch_options(offer.account)
        cloud = "" if offer.provider == offer.account else f" ({offer.provider})"
        title = f"Options of {offer.instance_type} at {offer.account}{cloud}"
        before = self.wishes.get(offer.provider, Wishes())
        self.app.push_screen(LaunchOptionsScreen(title, options, before, against), take)

    def _launch(self) -> None:
        order = self.order
        if self.operation_id is not None:
            self.gpudash.say(_ASKED_ALREADY, "tone-warn")
        elif isinstance(order, LaunchOrder):
            self.gpudash.carry_out(self._send(order))
        else:
            self.gpudash.say(order or "No offer is selected.", "tone-warn")

    async def _send(self, order: LaunchOrder) -> None:
        self.operation_id = ""
        try:
            operation = await self.fleet.launch(order)
        except GpudashError:
            self.operation_id = None
            raise
        self.operation_id = operation.id
        self.gpudash.announcer.follow(operation)
        if not self.is_open:
            return
        self.query_one("#order").display = False
        self.table.focus()
        self.footer.show(FooterFacts(((BY_ID["cancel_launch"], True), (BY_ID["back"], True))))
        self.query_one("#summary", Lines).update_lines()

    def action_cancel_launch(self) -> None:
        """End what the launch makes, once the cloud has told of it; before that only a listing knows."""
        operation = self.fleet.store.operations.get(self.operation_id or "")
        if operation is None:
            self.gpudash.say("Nothing was launched from here yet.", "tone-warn")
            return
        record = self.fleet.store.records.get(operation.key) if operation.key is not None else None
        if record is None:
            over = "" if operation.stage.is_open else f" ({operation.stage.value})"
            self.gpudash.say(f"The cloud has not shown {operation.name}{over}; X ends it once it does.", "tone-warn")
            return
        reason = self.fleet.reason_against(Verb.TERMINATE, record.key)
        if reason is not None:
            self.gpudash.say(reason, "tone-warn")
            return
        from gpudash.ui.screens.confirm import ConfirmEnd

        async def end() -> None:
            self.gpudash.announcer.follow(await self.fleet.end(record.key, EndAction.TERMINATE, HOLD_S))

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self.gpudash.carry_out(end())

        self.app.push_screen(ConfirmEnd(EndAction.TERMINATE, [record], []), answered)

    async def action_filter(self) -> None:
        self.query_one(FilterBar).focus_input()

    def action_back(self) -> None:
        """From the order to the board, from there to the fleet."""
        if isinstance(self.focused, (Input, Button)) and self.operation_id is None and not self._in_filter():
            self.query_one(FilterBar).focus_input()
        else:
            self.leave()

    def on_descendant_focus(self) -> None:
        self._show_footer()

    def _show_footer(self) -> None:
        """Enter launches from the button, and from everywhere else it goes there."""
        if self.operation_id is not None:
            return
        super()._show_footer()
        if self.focused is not None and self.focused.id == "launch":
            keys = [
                (act._replace(label="launch") if act.id == "order" else act, on) for act, on in self.footer.facts.keys
            ]
            self.footer.show(FooterFacts(tuple(keys)))

    def _in_filter(self) -> bool:
        return self.focused is not None and any(isinstance(node, FilterBar) for node in self.focused.ancestors)

    def filter_text(self, text: str) -> None:
        """Set the filter from outside."""
        self.view.filter = Filter.parse(text, self.view.fields)


def summary_lines(order: LaunchOrder, offer: Offer, scene: Scene, width: int) -> tuple[Line, Line]:
    """What the lease costs, and what will guard it; then what the lease ends with."""
    deadline = order.policy.lease_deadline
    lease = timedelta(0) if deadline is None else timedelta(seconds=round((deadline - scene.now).total_seconds()))
    # A lease of 4 h is 4 h on screen, though a moment has passed since it was planned.
    lease = timedelta(minutes=max(1, round(lease.total_seconds() / 60)))
    machine, disk = (cost(price, lease) for price in offer.meters(order.options))
    of_it = f" ({fmt.money(disk)} disk)" if disk.usd else " and its disk" if disk.unknown else ""
    first: Line = (
        (f"{offer.gpu_count}×{offer.gpu}", "value"),
        (f" in {offer.region} ({offer.account}{', spot' if order.spot else ''}) for ", "text"),
        (fmt.short_length(lease), "value"),
        (" costs at most ", "text"),
        (fmt.money(machine + disk), "value"),
    )
    if cells_of(first) + len(of_it) <= width:
        first = (*first, (of_it, "muted"))
    first = (
        *first,
        ("" if offer.available is not False else "   the cloud says it has none now", "tone-warn"),
    )
    idle = order.policy.idle_timeout
    second: Line = (
        ("ends ", "label"),
        (f"{fmt.when(deadline, scene.now, scene.zone)}" if deadline else "never", "text"),
        (f", or {order.policy.idle_action.value}s after {fmt.short_length(idle)} idle" if idle else "", "text"),
        (
            f"   hard deadline {fmt.when(order.policy.hard_deadline, scene.now, scene.zone)}"
            if order.policy.hard_deadline
            else "",
            "muted",
        ),
        (f"   if none is free: {places}" if (places := _others(order)) else "", "text"),
    )
    return first, second


def _others(order: LaunchOrder) -> str:
    """Where else it may come up, shortly."""
    places = [other.region for other in order.alternatives]
    more = f" and {len(places) - 2} more" if len(places) > 2 else ""
    return ", ".join(places[:2]) + more
