"""`launch`: find the offer, show the plan, confirm, ask once, follow the steps to an armed guard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import carry, jsonview, ownkey, words
from gpudash.cli.acting import forbidden
from gpudash.cli.hostfilter import host_options
from gpudash.cli.listing import POLL_S, say_lacks
from gpudash.cli.offers import by_price, check_account
from gpudash.cli.output import Output, can_ask, one_line
from gpudash.cli.verb import DURATION, USD, Run, Verb, pass_run
from gpudash.cli.wanted import Wanted, from_stdin, read_options
from gpudash.clock import iso
from gpudash.errors import ExitCode, NoCapacity, Refused, Unreachable, UsageError
from gpudash.fleet.launch import order_of, refusals_of
from gpudash.model.capability import Verb as Change
from gpudash.model.money import Amount, cost
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter, without_secrets
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction

if TYPE_CHECKING:
    from gpudash.fleet.session import Session


@click.command(cls=Verb)
@click.option("--type", "type_", metavar="T", help="Instance type, as `offers` names it.")
@click.option("--account", metavar="A", help="Where; needed only if several have the type.")
@click.option("--region", metavar="R", help="In which region; the cheapest otherwise.")
@click.option("--spot", is_flag=True, help="Cheaper, and can be taken away.")
@click.option("--name", metavar="N", help="Its name.  [default: made up]")
@click.option("--lease", type=DURATION, help="Time it may live.  [default: the settings' lease]")
@click.option("--idle", type=DURATION, help="Idle time until the idle action.")
@click.option("--idle-action", type=click.Choice([action.value for action in EndAction]), help="What idle leads to.")
@click.option(
    "-o", "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="What only that cloud knows; see its page."
)
@click.option("--recipe", metavar="R", help="What to set up on it.")
@click.option("--max-price", type=USD, metavar="USD", help="Refuse above that much an hour.")
@host_options
@click.option("--no-wait", is_flag=True, help="Answer as soon as the cloud has said yes; exit code 6, not proved.")
@click.option("--timeout", type=DURATION, default="15m", show_default=True, help="How long to wait for the proof.")
@click.option("--dry-run", is_flag=True, help="Show plan and cost; ask for nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
@pass_run
def launch(
    run: Run,
    /,
    type_: str | None,
    account: str | None,
    region: str | None,
    spot: bool,
    name: str | None,
    lease: timedelta | None,
    idle: timedelta | None,
    idle_action: str | None,
    pairs: tuple[str, ...],
    recipe: str | None,
    max_price: Decimal | None,
    no_wait: bool,
    timeout: timedelta,
    dry_run: bool,
    yes: bool,
    **host: Any,
) -> int:
    """Launch an instance and wait until its guard is armed.

    Without --type one JSON offer is read from stdin, in the form that `offers --json` or truffle prints. Where a cloud
    has none free, the next region is tried that costs no more, unless --region or an option names a place.
    """
    if recipe is not None:
        raise UsageError(f"There is no recipe {recipe!r}.", hint="Leave out --recipe; no recipe is known here.")
    wanted = Wanted(type_, account, region, spot) if type_ else from_stdin(account, region, spot)
    options = {**wanted.options, **read_options(pairs)}
    if host["disk_gb"] is None and options.get("disk_gb", "").isdecimal():
        host["disk_gb"] = int(options["disk_gb"])
    host["with_unverified"] = host["with_unverified"] or wanted.unverified
    check_account(run.config, wanted.account)
    run.out.subject = f"{wanted.account}:" if wanted.account else None
    with run.session([wanted.account] if wanted.account else None) as session:
        offer, *others = pick(run.out, session, wanted, **host)
        run.out.subject = f"{offer.account}:"
        if host["disk_gb"] and session.providers.capabilities(offer.account).launch_option("disk_gb"):
            options.setdefault("disk_gb", str(host["disk_gb"]))
        if not dry_run:
            allow(run, session, offer.account)
        order = session.actions.plan_launch(
            offer,
            name=name,
            lease=lease,
            idle_timeout=idle,
            idle_action=EndAction(idle_action) if idle_action else None,
            max_price=_lower(max_price, run.config.defaults.max_price_usd_per_hour),
            options=options,
            others=others,
        )
        check_cap(order)
        check_told(order, wanted, asked=yes)
        plan = Plan(order, offer, session)
        if dry_run:
            return _show(run.out, plan)
        for line in plan.lines():
            run.out.talk(line)
        if not yes:
            confirm(run.out, order)
            ownkey.offer_one(run.out, session.actions.launch_options(order.account), order.options)
        operation = session.actions.launch(order)
        tell_refusals(run.out, operation)
        return carry.through(run, session, operation, timeout_s=0.0 if no_wait else timeout.total_seconds())


def tell_refusals(out: Output, operation: Operation) -> None:
    """Which offers had none before one was taken, or all refused."""
    for refusal in refusals_of(operation) if operation.stage is not Stage.FAILED else []:
        out.talk(f"✗ {one_line(refusal)}")
    if refusals_of(operation) and operation.stage is not Stage.FAILED:
        order = order_of(operation)
        out.talk(f"● none free there; {order.instance_type} in {order.region} instead")


def allow(run: Run, session: Session, account: str) -> None:
    """Refuse a launch where nothing may be changed, or where the cloud has no such verb.

    Raises:
        Refused: with the reason.
    """
    reason = forbidden(run, account) or session.actions.reason_against(Change.LAUNCH, None, account)
    if reason:
        raise Refused(f"launch: {reason.rstrip('.')}; nothing was asked for.")


def _lower(given: Decimal | None, settings: Decimal | None) -> Decimal | None:
    caps = [cap for cap in (given, settings) if cap is not None]
    return min(caps, default=None)


def check_cap(order: LaunchOrder) -> None:
    """Hold the order against its price cap; a price nobody knows is above any.

    Raises:
        Refused: too dear, or of unknown price.
    """
    if order.max_price is None or order.offer is None:
        return
    price = order.offer.total
    if price is None:
        raise Refused(f"{order.instance_type} has no known price, and the cap is ${order.max_price}/h.")
    if price.usd_per_hour > order.max_price:
        raise Refused(
            f"{order.instance_type} costs ${words.price(price)}/h, above the cap of ${order.max_price}/h.",
            hint="Choose a cheaper offer, or raise --max-price or max_price_usd_per_hour.",
        )


def check_told(order: LaunchOrder, wanted: Wanted, *, asked: bool) -> None:
    """Nobody is asked, and the offer on stdin was cheaper: only a cap says how much more is fine.

    Raises:
        Refused: it costs more than the offer said.
    """
    price = order.offer.total if order.offer else None
    if not asked or wanted.price is None or order.max_price is not None or price is None:
        return
    if price.usd_per_hour > wanted.price:
        raise Refused(
            f"{order.instance_type} costs ${words.price(price)}/h now; the offer said ${wanted.price}/h.",
            hint="Say with --max-price what it may cost.",
        )


def confirm(out: Output, order: LaunchOrder) -> None:
    """Ask a person whether to spend the money.

    Raises:
        Refused: nobody can be asked, or the answer was not a yes.
    """
    if not can_ask():
        raise Refused(f"The launch of {order.name} was not confirmed.", hint="Without a terminal, add --yes.")
    if out.ask("Launch? [y/N] ").casefold() not in {"y", "yes"}:
        raise Refused(f"The launch of {order.name} was not confirmed; nothing was asked for.")


def pick(out: Output, session: Session, wanted: Wanted, **host: Any) -> list[Offer]:
    """The offers of that type that can be had, cheapest first, on hosts that fit `host` (see `hostfilter`).

    Raises:
        UsageError: no account offers such a type, or several do.
        NoCapacity: nothing of it is free.
        Unreachable: an account that might offer it did not answer.
    """
    wish = OfferFilter(
        instance_type=wanted.instance_type, account=wanted.account, region=wanted.region, spot=wanted.spot, **host
    )
    lists = session.offers(wish, POLL_S)
    say_lacks(out, ((listing.account, listing.lacks) for listing in lists))
    fitting = sorted((item for listing in lists for item in listing.items if wish.accepts(item)), key=by_price)
    kind = "spot" if wanted.spot else "on demand"
    place = f" in {wanted.region}" if wanted.region else ""
    if not fitting:
        silent = [f"{listing.account}: {listing.problem or 'incomplete'}" for listing in lists if not listing.complete]
        if silent:
            raise Unreachable(f"No offer of {wanted.instance_type} could be read ({'; '.join(silent)}).")
        raise UsageError(f"Nobody offers {wanted.instance_type} {kind}{place}.", hint="`gpudash offers` lists types.")
    accounts = sorted({item.account for item in fitting})
    if len(accounts) > 1:
        raise UsageError(f"{' and '.join(accounts)} offer {wanted.instance_type}.", hint="Choose one with --account.")
    fitting = [item for item in fitting if item.id == wanted.offer_id] or fitting
    free = [item for item in fitting if item.available is not False]
    if not free:
        raise NoCapacity(f"No {wanted.instance_type} {kind} is free{place}.", hint="`gpudash offers` shows what is.")
    return free


@dataclass(frozen=True, slots=True)
class Plan:
    """What a launch will do and cost."""

    order: LaunchOrder
    offer: Offer
    session: Session

    @property
    def lease(self) -> timedelta | None:
        """How long it may live."""
        deadline = self.order.policy.lease_deadline
        return deadline - self.session.clock.now() if deadline else None

    @property
    def cost(self) -> Amount | None:
        """What the whole lease costs, its disk included; None without a lease."""
        lease = self.lease
        if lease is None:
            return None
        machine, disk = self.offer.meters(self.order.options)
        return cost(machine, lease) + cost(disk, lease)

    def lines(self) -> list[str]:
        """For people."""
        order, offer, policy = self.order, self.offer, self.order.policy
        now = self.session.clock.now()
        kind = "spot" if order.spot else "on demand"
        source = f" ({offer.price.source})" if offer.price else ""
        lease = self.lease
        whole = f"{words.length(_rounded(lease))} cost {words.amount(self.cost)}" if lease else "no lease"
        hard = f", hard deadline {words.when(policy.hard_deadline, now)}" if policy.hard_deadline else ""
        idle = (
            f"{words.length(policy.idle_timeout)}, then {policy.idle_action.value}" if policy.idle_timeout else "none"
        )
        return [
            f"launch  {order.name}: {words.gpus(offer.gpu_count, offer.gpu, offer.vram_gb)} ({order.instance_type})",
            f"where   {order.account} ({offer.provider}), {order.region}, {kind}",
            f"price   ${words.price(offer.total)}/h{source}; {whole}{_traffic(offer)}",
            f"lease   {words.when(policy.lease_deadline, now) if policy.lease_deadline else 'none'}{hard}",
            f"idle    {idle}",
            *([f"else    {', '.join(places)}, if none is free there"] if (places := self.places) else []),
            *(f"option  {name}={value}" for name, value in without_secrets(order.options).items() if name != "owner"),
        ]

    @property
    def places(self) -> list[str]:
        """Where else it may come up."""
        return [f"{other.region} at ${words.price(other.total)}/h" for other in self.order.alternatives]

    def json(self) -> dict[str, Any]:
        """For scripts."""
        order, policy = self.order, self.order.policy
        lease = self.lease
        return {
            "name": order.name,
            "region": order.region,
            "offer": jsonview.offer(self.offer),
            "alternatives": [jsonview.offer(other) for other in order.alternatives],
            "options": {name: value for name, value in without_secrets(order.options).items() if name != "owner"},
            "lease_s": jsonview.seconds(_rounded(lease)) if lease else None,
            "lease_deadline": iso(policy.lease_deadline),
            "hard_deadline": iso(policy.hard_deadline),
            "idle_timeout_s": jsonview.seconds(policy.idle_timeout),
            "idle_action": policy.idle_action.value,
            "cost_usd": jsonview.usd(self.cost),
        }


def _traffic(offer: Offer) -> str:
    ways = [(offer.up_usd_per_gb, "out"), (offer.down_usd_per_gb, "in")]
    told = [f"${words.digits(price)}/GB {way}" for price, way in ways if price]
    return f"; traffic {', '.join(told)} comes on top" if told else ""


def _rounded(length: timedelta) -> timedelta:
    """Without the moments that passed since the plan was made."""
    unit = 60 if length >= timedelta(minutes=10) else 1
    return timedelta(seconds=round(length.total_seconds() / unit) * unit)


def _show(out: Output, plan: Plan) -> int:
    if out.json:
        body = jsonview.answer(
            "launch",
            account=plan.order.account,
            id=None,
            ok=True,
            proved=False,
            detail="dry run: nothing was asked for",
            instance=None,
        )
        out.document({**body, "plan": plan.json()})
    else:
        for line in plan.lines():
            out.line(line)
        out.talk("Dry run: nothing was asked for.")
    return int(ExitCode.OK)
