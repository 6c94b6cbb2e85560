"""Money: exact, and honest about what it does not know."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gpudash.model.money import NOTHING_SPENT, Accrual, Amount, Interval, Price, cents, cost

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO = Price(Decimal("2.00"), "test")
ABOUT_TWO = Price(Decimal("2.00"), "test", estimated=True)
HOUR = timedelta(hours=1)

prices = st.none() | st.builds(Price, st.decimals("0.0001", "99", places=4), st.just("test"), estimated=st.booleans())
lengths = st.timedeltas(timedelta(0), timedelta(days=400))


def compute(price: Price | None, start: datetime, end: datetime | None) -> Interval:
    return Interval("compute", "running", price, start, end)


def test_an_hour_costs_its_price() -> None:
    """No rounding where none is needed."""
    assert cost(TWO, HOUR) == Amount(Decimal("2.00"))


def test_a_microsecond_costs_something() -> None:
    """Tiny amounts do not vanish; they are added a million times over."""
    assert cost(TWO, timedelta(microseconds=1)).usd > 0


def test_a_clock_that_ran_backwards_costs_nothing() -> None:
    """A negative length is not a refund."""
    assert cost(TWO, -HOUR) == Amount()


def test_no_price_is_unknown_and_not_zero() -> None:
    """Promise 4: the sum says that something is missing in it."""
    assert cost(None, HOUR) == Amount(unknown=True)


def test_no_price_for_no_time_is_nothing() -> None:
    """What did not last has no unknown cost."""
    assert cost(None, timedelta(0)) == Amount()


def test_a_sum_remembers_estimates_and_unknowns() -> None:
    """One estimated and one unknown part mark the whole."""
    total = cost(TWO, HOUR) + cost(ABOUT_TWO, HOUR) + cost(None, HOUR)
    assert total == Amount(Decimal("4.00"), estimated=True, unknown=True)


def test_a_sum_of_unknowns_alone_has_no_figure() -> None:
    """Nothing known is shown as unknown, not as 0."""
    assert cost(None, HOUR).known is None


def test_a_partly_known_sum_shows_the_known_part() -> None:
    """With the mark beside it."""
    assert (cost(None, HOUR) + cost(TWO, HOUR)).known == Decimal("2.00")


def test_nothing_spent_is_a_known_zero() -> None:
    """An instance without intervals has cost nothing."""
    assert NOTHING_SPENT.at(NOON).known == 0


def test_an_accrual_grows_with_the_clock() -> None:
    """Closed intervals are fixed, the open one runs on."""
    accrual = Accrual.of([compute(TWO, NOON - HOUR, NOON), compute(TWO, NOON, None)])
    assert [accrual.at(NOON + n * HOUR).usd for n in range(3)] == [2, 4, 6]


@given(st.lists(st.tuples(prices, lengths), max_size=8), prices, lengths)
def test_an_accrual_is_the_sum_of_its_intervals(parts: list, price: Price | None, since: timedelta) -> None:
    """At any time, marks included."""
    moment, intervals, total = NOON, [], Amount()
    for part, length in parts:
        intervals.append(compute(part, moment, moment + length))
        total += cost(part, length)
        moment += length
    accrual = Accrual.of([*intervals, compute(price, moment, None)])
    assert accrual.at(moment + since) == total + cost(price, since)


@given(prices.filter(bool), lengths, lengths)
def test_cutting_a_stretch_in_two_changes_nothing(price: Price, one: timedelta, other: timedelta) -> None:
    """Not by a billionth of a cent."""
    cut = cost(price, one) + cost(price, other)
    assert abs(cut.usd - cost(price, one + other).usd) < Decimal("1e-15")


def test_cents_round_half_up() -> None:
    """As invoices do."""
    assert [cents(Decimal(text)) for text in ("0.005", "0.0049", "2.675")] == [
        Decimal("0.01"),
        Decimal("0.00"),
        Decimal("2.68"),
    ]
