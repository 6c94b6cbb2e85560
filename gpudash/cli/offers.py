"""`offers`: what can be launched now."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import jsonview, words
from gpudash.cli.hostfilter import host_options, say_left_out
from gpudash.cli.listing import POLL_S, say_problems
from gpudash.cli.verb import USD, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import UsageError
from gpudash.model.offer import Offer, OfferFilter

if TYPE_CHECKING:
    from gpudash.config import Config

STOCK = {True: "yes", False: "no", None: words.UNKNOWN}


def check_account(config: Config, account: str | None) -> None:
    """Refuse an account that no setting names.

    Raises:
        UsageError: with the names that there are.
    """
    if account is not None and account not in config.accounts:
        known = ", ".join(sorted(config.accounts))
        raise UsageError(f"There is no account {account!r}.", hint=f"There is: {known}.")


def by_price(offer: Offer) -> tuple[bool, Decimal, bool, Decimal, str, str]:
    """Cheapest first, disk included; an unknown price comes last, never first. Then stock, then the better host."""
    total = offer.total
    price = total.usd_per_hour if total else Decimal(0)
    rest = -(offer.reliability or Decimal(0))
    return (total is None, price, offer.available is not True, rest, offer.instance_type, offer.region)


@click.command(cls=Verb)
@click.option("--gpu", metavar="NAME", help="Part of the GPU's name.")
@click.option("--min-vram", type=click.IntRange(1), metavar="GB", help="At least that much memory in one GPU.")
@click.option("--gpus", type=click.IntRange(1), metavar="N", help="Exactly so many GPUs.")
@click.option("--max-price", type=USD, metavar="USD", help="At most that much an hour.")
@click.option("--region", "regions", multiple=True, metavar="R", help="Only there; may be repeated.")
@click.option("--account", metavar="A", help="Only at that account.")
@click.option("--spot/--on-demand", default=None, help="Only spot, or only on demand.")
@host_options
@pass_run
def offers(
    run: Run,
    /,
    gpu: str | None,
    min_vram: int | None,
    gpus: int | None,
    max_price: Decimal | None,
    regions: tuple[str, ...],
    account: str | None,
    spot: bool | None,
    **host: Any,
) -> int:
    """What can be launched now, cheapest first."""
    check_account(run.config, account)
    wanted = OfferFilter(
        gpu=gpu,
        min_vram_gb=min_vram,
        gpus=gpus,
        max_price=max_price,
        region=regions[0] if len(regions) == 1 else None,
        regions=regions if len(regions) > 1 else (),
        account=account,
        spot=spot,
        **host,
    )
    with run.session([account] if account else None) as session:
        lists = session.offers(wanted, POLL_S)
        found = sorted((item for listing in lists for item in listing.items if wanted.accepts(item)), key=by_price)
        now = session.clock.now()
        if run.out.json:
            run.out.document({"as_of": iso(now), "offers": [jsonview.offer(item) for item in found]})
        elif found:
            for line in table(found):
                run.out.line(line)
            oldest = min(item.as_of for item in found)
            run.out.talk(f"as of {oldest.astimezone():%H:%M:%S}, {words.length(now - oldest)} ago")
        else:
            run.out.talk("No offer fits.")
        clouds = [(name, session.providers.capabilities(name)) for name in session.accounts]
        say_left_out(run.out, wanted, clouds)
        return say_problems(run.out, lists)


def table(found: list[Offer]) -> list[str]:
    """Offers as lines of text, in the order given."""
    titles = ("$/H", "$/GPU", "$/GB", "TYPE", "GPU", "REGION", "ACCOUNT", "KIND", "FREE")
    return words.table(titles, [_row(item) for item in found], right=frozenset({0, 1, 2}))


def _row(offer: Offer) -> tuple[str, ...]:
    return (
        words.price(offer.total),
        words.UNKNOWN if offer.usd_per_gpu is None else words.digits(offer.usd_per_gpu),
        words.UNKNOWN if offer.usd_per_gb is None else f"{offer.usd_per_gb:.4f}",
        offer.instance_type,
        words.gpus(offer.gpu_count, offer.gpu, offer.vram_gb),
        offer.region,
        offer.account,
        "spot" if offer.spot else "on demand",
        STOCK[offer.available],
    )
