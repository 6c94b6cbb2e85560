"""Questions a command puts to every account at once: what can be launched, what bills without an instance."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from typing import TYPE_CHECKING, TypeVar

from gpudash.errors import GpudashError
from gpudash.model.listing import Listing
from gpudash.model.offer import Offer, OfferFilter
from gpudash.providers.base import Leftover, Provider

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

T = TypeVar("T")


def offers(session: Session, wanted: OfferFilter, timeout_s: float) -> list[Listing[Offer]]:
    """What can be launched, one listing an account; a failure is an incomplete listing with its problem."""
    return _each(session, "offers", lambda provider: provider.list_offers(wanted), timeout_s)


def leftovers(session: Session, timeout_s: float) -> list[Listing[Leftover]]:
    """What bills without a running instance, one listing an account; likewise."""
    return _each(session, "leftovers", lambda provider: provider.list_leftovers(), timeout_s)


def _each(
    session: Session, what: str, question: Callable[[Provider], Listing[T]], timeout_s: float
) -> list[Listing[T]]:
    asked_at = session.clock.now()

    def put(account: str) -> Listing[T]:
        return question(session.providers[account])

    asked = {account: session.lanes[what, account].submit(put, account) for account in session.accounts}
    done = wait(asked.values(), timeout=timeout_s).done
    answers: list[Listing[T]] = []
    for account, future in asked.items():
        problem = f"no answer within {timeout_s:g} s"
        if future in done:
            error = future.exception()
            if error is None:
                answers.append(future.result())
                continue
            if not isinstance(error, GpudashError):
                raise error
            problem = str(error)
        answers.append(Listing(account, "", (), False, asked_at, session.clock.now(), problem))
    return answers
