"""Promise 4: no price is unknown, an estimate stays one, and a total with unknowns says so."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from support.memory_cloud import Cloud, look

from gpudash.fleet.session import Session
from gpudash.model.instance import InstanceState
from gpudash.model.money import NO_MONEY, Price
from gpudash.model.policy import Policy


def test_promise_04_a_total_with_an_unknown_price_says_so(session: Session, cloud: Cloud) -> None:
    cloud.add("priced")
    cloud.add("unpriced", price=None)
    look(session)
    burn = session.store.totals(session.clock.now()).burn
    assert (burn.usd, burn.unknown) == (Decimal("2.49"), True)


def test_promise_04_nothing_known_is_no_zero(session: Session, cloud: Cloud) -> None:
    cloud.add("unpriced", price=None)
    look(session)
    assert session.store.totals(session.clock.now()).burn.known is None


def test_promise_04_an_estimate_makes_the_total_an_estimate(session: Session, cloud: Cloud) -> None:
    cloud.add("guessed", price=Price(Decimal(1), "table", estimated=True))
    look(session)
    assert session.store.totals(session.clock.now()).burn.estimated


def test_promise_04_a_stopped_disk_without_a_price_is_unknown(session: Session, cloud: Cloud) -> None:
    cloud.add("parked", InstanceState.STOPPED)
    look(session)
    burn = session.store.totals(session.clock.now()).burn
    assert (burn.usd, burn.unknown) == (Decimal(0), True)


def test_promise_04_what_bills_without_a_deadline_makes_the_projection_unknown(session: Session, cloud: Cloud) -> None:
    cloud.add("for-ever")
    look(session)
    assert session.store.totals(session.clock.now()).projected.unknown


def test_promise_04_the_projection_is_the_sum_of_the_rows(session: Session, cloud: Cloud) -> None:
    """Disks too, and what only comes up yet; what is stopped adds nothing."""
    now = session.clock.now()
    limits, disk = Policy(lease_deadline=now + timedelta(hours=2)), Price(Decimal("0.05"), "table", estimated=True)
    cloud.add("worker", storage_price=disk, tag_policy=limits)
    cloud.add("comes-up", InstanceState.PENDING, storage_price=disk, tag_policy=limits)
    cloud.add("rests", InstanceState.STOPPED, storage_price=disk, tag_policy=limits)
    look(session)
    now = session.clock.now()
    rows = session.store.records.values()
    to_come = sum(((row.projected(now) or NO_MONEY).usd - row.accrued(now).usd for row in rows), Decimal(0))
    total = session.store.totals(now).projected
    assert (total.usd, total.estimated, total.unknown) == (to_come, True, False)
    assert total.usd == 2 * 2 * (Decimal("2.49") + Decimal("0.05"))


def test_promise_04_spent_grows_with_the_clock_between_listings(session: Session, cloud: Cloud) -> None:
    key = cloud.add("worker").key
    look(session)
    look(session, 10)
    before = session.store.records[key].accrued(session.clock.now()).usd
    session.clock.sleep(3600)
    assert session.store.records[key].accrued(session.clock.now()).usd - before == Decimal("2.49")


def test_promise_04_today_counts_from_the_ledger_on(session: Session, cloud: Cloud) -> None:
    """It had run for an hour when it was first seen, then a minute under our eyes, then an hour that nobody looked."""
    cloud.add("worker")
    look(session)
    session.clock.sleep(60)
    look(session)
    session.refresh_spent()
    session.clock.sleep(3600)
    spent = session.store.totals(session.clock.now()).spent_today
    assert spent.usd.quantize(Decimal("0.001")) == (Decimal("2.49") * 7260 / 3600).quantize(Decimal("0.001"))
