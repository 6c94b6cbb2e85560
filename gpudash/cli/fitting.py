"""`fit`: how much VRAM a model needs, the arithmetic shown, and the cheapest offers that have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import jsonview, words
from gpudash.cli.listing import POLL_S, say_problems
from gpudash.cli.offers import check_account, table
from gpudash.cli.verb import USD, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import UsageError
from gpudash.model import fit as fitmodel
from gpudash.model.fit import GB, Model, Need, Precision, Use
from gpudash.model.offer import Offer, OfferFilter

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

SHOWN = 10
ALTERNATIVES = 3
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")


class Tokens(click.ParamType[int]):
    """A number of tokens: ``8192``, ``32k`` (1024 each), ``1m``."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _TOKENS.fullmatch(str(value))
        size = {"": 1, "k": 1024, "m": 1024 * 1024}[found[2].lower()] if found else 1
        count = int(Decimal(found[1]) * size) if found else 0
        if count < 1:
            raise UsageError(f"context: {value!r} is no number of tokens.", hint="Write 8192, 32k or 128k.")
        return count


@click.command(cls=Verb)
@click.argument("model")
@click.option(
    "--precision",
    type=click.Choice([item.value for item in Precision]),
    help="How weights are stored.  [default: as published]",
)
@click.option("--context", type=Tokens(), metavar="N", help="Tokens of each sequence: 8192, 32k.  [default: 8192]")
@click.option("--sequences", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many at once.")
@click.option("--kv", type=click.Choice(["16", "8"]), default="16", show_default=True, help="Bits of keys and values.")
@click.option("--overhead", type=click.FloatRange(0, 1000), metavar="GB", help="On each GPU.  [default: 1.5]")
@click.option("--gpus", type=click.IntRange(1), metavar="N", help="Only offers with exactly so many GPUs.")
@click.option("--max-price", type=USD, metavar="USD", help="At most that much an hour.")
@click.option("--region", metavar="R", help="Only there.")
@click.option("--account", metavar="A", help="Only at that account.")
@click.option("--spot/--on-demand", default=None, help="Only spot, or only on demand.")
@click.option("--all", "every", is_flag=True, help="All offers that fit, not the ten best.")
@pass_run
def fit(
    run: Run,
    model: str,
    precision: str | None,
    context: int | None,
    sequences: int,
    kv: str,
    overhead: float | None,
    gpus: int | None,
    max_price: Decimal | None,
    region: str | None,
    account: str | None,
    spot: bool | None,
    every: bool,
) -> int:
    """How much VRAM MODEL needs to be served, and the cheapest offers that have it."""
    from gpudash.config import models

    check_account(run.config, account)
    wanted = models.find(model, models.load())
    gb = fitmodel.OVERHEAD_GB if overhead is None else Decimal(str(overhead))
    use = fitmodel.use_of(
        wanted, precision=precision, context=context, sequences=sequences, kv_bytes=int(kv) // 8, overhead_gb=gb
    )
    limits = OfferFilter(gpus=gpus, max_price=max_price, region=region, account=account, spot=spot)
    with run.session([account] if account else None) as session:
        lists = session.offers(limits, POLL_S)
        offers = [item for listing in lists for item in listing.items if limits.accepts(item)]
        _report(run, session, wanted, use, offers, every=every)
        return say_problems(run.out, lists)


def _report(run: Run, session: Session, model: Model, use: Use, offers: list[Offer], *, every: bool) -> None:
    found = fitmodel.fitting(model, use, offers)
    others = [] if any(offer.available is not False for offer in found) else _alternatives(model, use, offers)
    if run.out.json:
        run.out.document(_document(session, model, use, found, others))
        return
    for line in (*arithmetic(model, use), "", *sizes(model, use), ""):
        run.out.line(line)
    if found:
        shown = found if every else found[:SHOWN]
        run.out.line("Offers that fit, cheapest first:" if len(shown) == len(found)
                     else f"The {len(shown)} cheapest of {len(found)} offers that fit (--all shows all):")  # fmt: skip
        for line in table(shown):
            run.out.line(line)
    if not found:
        run.out.talk("No offer has room for it.")
    elif others:
        run.out.talk("None of these is in stock.")
    for changed, offer in others:
        run.out.line(f"Instead: {changed.precision}, {changed.context} tokens fit {offer.instance_type} "
                     f"in {offer.region} at {offer.account}, ${words.price(offer.total)}/h.")  # fmt: skip


def arithmetic(model: Model, use: Use) -> Iterator[str]:
    """Where each byte comes from, as sums that can be followed."""
    weights = model.weights(use.precision)
    yield f"{model.name} ({model.id}), {model.parameters / 1e9:,.2f} billion parameters, {use.precision}"
    yield f"  weights    {_gb(weights)} GB  {_weight_words(model, use.precision)}"
    kept = model.tokens_kept(use.context) * use.sequences
    kv = model.values_a_token() * kept * use.kv_bytes
    yield f"  KV cache   {_gb(kv)} GB  {_kv_words(model, use)}"
    if model.state_bytes:
        yield f"  state      {_gb(model.state_bytes * use.sequences)} GB  {model.state_bytes:,} bytes × {use.sequences}"
    yield f"  overhead   {use.overhead_gb:>8.2f} GB  on each GPU: CUDA context, buffers, activations (an assumption)"
    yield f"  source     {model.source}" + (f", read {model.as_of}" if model.as_of else "")


def sizes(model: Model, use: Use) -> list[str]:
    """What each GPU must be sold with, for each number of GPUs."""
    rows = [
        (str(n.gpus), _gb(n.weights), _gb(n.kv + n.state), _gb(n.overhead), _gb(n.each), f"{n.vram_gb:.1f}")
        for n in fitmodel.needs(model, use)
    ]
    share = f"{fitmodel.USABLE:.0%}"
    titles = ("GPUS", "WEIGHTS", "KV", "OVERHEAD", "EACH HOLDS", f"NEEDS VRAM (GB, {share} usable)")
    return words.table(titles, rows, right=frozenset(range(6)))


def _alternatives(model: Model, use: Use, offers: list[Offer]) -> list[tuple[Use, Offer]]:
    """Up to three ways that are in stock: first smaller weights, then a shorter context too."""
    found: list[tuple[Use, Offer]] = []
    shorter = [use.context] + [size for size in (32768, 8192, 2048) if size < use.context]
    for context in shorter:
        for precision in (use.precision, *fitmodel.smaller(model, use.precision)):
            changed = Use(precision, context, use.sequences, use.kv_bytes, use.overhead_gb)
            best = next((o for o in fitmodel.fitting(model, changed, offers) if o.available), None)
            if best is not None and best not in [offer for _, offer in found]:
                found.append((changed, best))
    return found[:ALTERNATIVES]


def _document(
    session: Session, model: Model, use: Use, found: list[Offer], others: list[tuple[Use, Offer]]
) -> dict[str, Any]:
    return {
        "as_of": iso(session.clock.now()),
        "model": {"id": model.id, "name": model.name, "parameters": model.parameters, "source": model.source},
        "use": _use(use),
        "weights_bytes": model.weights(use.precision),
        "usable_share": float(fitmodel.USABLE),
        "needs": [_need(item) for item in fitmodel.needs(model, use)],
        "offers": [jsonview.offer(item) for item in found],
        "alternatives": [{"use": _use(changed), "offer": jsonview.offer(offer)} for changed, offer in others],
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "precision": use.precision.value,
        "context": use.context,
        "sequences": use.sequences,
        "kv_bytes": use.kv_bytes,
        "overhead_gb": float(use.overhead_gb),
    }


def _need(item: Need) -> dict[str, Any]:
    return {
        "gpus": item.gpus,
        "weights_bytes": item.weights,
        "kv_bytes": item.kv,
        "state_bytes": item.state,
        "overhead_bytes": item.overhead,
        "each_bytes": item.each,
        "vram_gb": float(round(item.vram_gb, 2)),
    }


def _weight_words(model: Model, precision: Precision) -> str:
    if precision is Precision.BF16:
        return f"{model.parameters:,} × 16 bits"
    small = model.expert_parameters if precision is Precision.MXFP4 else model.parameters - model.embedding_parameters
    bits = f"{fitmodel.bits(precision):f}".rstrip("0").rstrip(".")
    return f"{small:,} × {bits} bits + {model.parameters - small:,} × 16 bits"


def _kv_words(model: Model, use: Use) -> str:
    each = (
        f"{model.latent_dim} latent values"
        if model.latent_dim is not None
        else f"2 × {model.kv_heads} heads × {model.head_dim}"
    )
    layers = f"{model.layers} layers × {use.context:,} tokens"
    if model.window_layers:
        layers = f"({layers} + {model.window_layers} layers × {min(use.context, model.window):,})"
    return f"{each} × {layers} × {use.sequences} sequence{'s' * (use.sequences > 1)} × {use.kv_bytes} bytes"


def _gb(size: int) -> str:
    return f"{size / GB:>8.2f}"
