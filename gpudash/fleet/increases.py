"""The answer to a higher price that a host asks for. Held against the price cap, as a bid is."""

from __future__ import annotations

from decimal import Decimal

from gpudash.errors import Refused, Unsupported
from gpudash.fleet import once, permissions
from gpudash.fleet.desk import Desk
from gpudash.fleet.endings import known
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.model.operation import Operation
from gpudash.providers.base import AnswersIncreases, Provider

ACCEPT = "accept"


def intend_increase(desk: Desk, key: InstanceKey, *, accept: bool) -> Operation:
    """Write the intent to accept or reject it.

    Raises:
        NotFound: no such instance.
        Refused: read-only. What is above the cap is refused once it is looked up.
        Unsupported: no price of a living instance is raised at that cloud.
    """
    record = once.allowed(desk, Verb.INCREASE, key)
    word = "accept" if accept else "reject"
    text = f"asked to {word} the higher price of {record.instance.name or key.id}"
    return once.intend(desk, Verb.INCREASE, record, text, {ACCEPT: accept})


def raised(price: Price | None, growth: Decimal | None) -> Price | None:
    """What the GPUs will cost; None where that cannot be told."""
    return None if price is None or growth is None else Price(price.usd_per_hour * growth, "increase")


def advance_increase(desk: Desk, operation: Operation) -> Operation:
    """Send it, once."""
    accept = operation.params[ACCEPT] is True

    def answer(provider: Provider, key: InstanceKey) -> str:
        if not isinstance(provider, AnswersIncreases):
            raise Unsupported(f"{provider.provider} raises no price of an instance that lives.")
        asked = provider.asked_increase(key)
        if asked is None:
            raise Refused("Its host asks for no higher price now.")
        if accept:
            permissions.check_price(desk, raised(known(desk, key).instance.price, asked.growth), None)
        provider.answer_increase(key, accept=accept)
        return f"{'accepted' if accept else 'rejected'}: {asked.text}"

    return once.advance(desk, operation, answer, "its row tells whether the higher price is still asked for")
