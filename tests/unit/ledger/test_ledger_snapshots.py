"""What the first frame shows before any cloud was asked."""

import json

from ledger_builders import HOUR, KEY, MINUTE, NOON, STOPPED, instance, listing

from gpudash.ledger import Ledger
from gpudash.model.policy import Policy

STATUS = {
    "version": "1",
    "now": "2026-03-01T12:00:00Z",
    "policy": {"lease_deadline": "2026-03-01T16:00:00Z"},
    "news": [1, {"a": None}],
}


def test_a_listing_comes_back(ledger: Ledger) -> None:
    """As it was; the newest of each region."""
    east = listing(NOON + MINUTE, [instance(tag_policy=Policy(NOON))])
    west = listing(NOON, region="west")
    for seen in (listing(NOON, [instance(), instance("i-2")]), east, west):
        ledger.save_listing(seen)
    assert sorted(ledger.load_listings(), key=lambda seen: seen.region) == [east, west]


def test_an_incomplete_listing_removes_nothing(ledger: Ledger) -> None:
    """Promise 3: it changes what it shows; the rest stays, as old as it is."""
    ledger.save_listing(listing(NOON, [instance(), instance("i-2")]))
    ledger.save_listing(listing(NOON + HOUR, [instance(state=STOPPED), instance("i-3")], complete=False))
    (kept,) = ledger.load_listings()
    assert [(item.key.id, item.state.value) for item in kept.items] == [
        ("i-1", "stopped"),
        ("i-2", "running"),
        ("i-3", "running"),
    ]
    assert (kept.complete, kept.fetched_at, kept.problem) == (False, NOON, "page 2 is missing")


def test_an_incomplete_listing_that_shows_all_is_as_new_as_it_is(ledger: Ledger) -> None:
    """Nothing in it is old."""
    ledger.save_listing(listing(NOON, [instance()]))
    ledger.save_listing(listing(NOON + HOUR, [instance()], complete=False))
    assert ledger.load_listings()[0].fetched_at == NOON + HOUR


def test_an_unreadable_instance_is_left_out_and_said(ledger: Ledger) -> None:
    """The others are shown; the listing is no proof of absence."""
    ledger.save_listing(listing(NOON, [instance(), instance("i-2")]))
    with ledger._db.write() as connection:
        (items,) = connection.execute("SELECT items FROM listings").fetchone()
        first, second = json.loads(items)
        connection.execute("UPDATE listings SET items = ?", (json.dumps([first | {"key": 5}, second]),))
    (kept,) = ledger.load_listings()
    assert [item.key.id for item in kept.items] == ["i-2"]
    assert not kept.complete
    assert "cannot be read" in (kept.problem or "")


def test_a_status_comes_back(ledger: Ledger) -> None:
    """Parsed, with the time it came."""
    ledger.save_status(KEY, STATUS, NOON)
    status, seen_at = ledger.load_statuses()[KEY]
    assert (status.policy.lease_deadline, seen_at) == (NOON + 4 * HOUR, NOON)


def test_the_status_of_a_gone_host_is_forgotten(ledger: Ledger) -> None:
    """Or every host there ever was would be read before the first frame."""
    ledger.save_status(KEY, STATUS, NOON)
    ledger.forget_status(KEY)
    assert ledger.load_statuses() == {}


def test_an_absence_comes_back_until_it_is_over(ledger: Ledger) -> None:
    """Each region has its own; what is not named is there."""
    ledger.save_absences("lab", "east", {KEY: NOON})
    ledger.save_absences("lab", "west", {})
    assert ledger.load_absences() == {KEY: NOON}
    ledger.save_absences("lab", "east", {})
    assert ledger.load_absences() == {}


def test_an_unreadable_status_is_none(ledger: Ledger) -> None:
    """The host is asked again in a moment anyway."""
    ledger.save_status(KEY, {"hello": 1}, NOON)
    assert ledger.load_statuses() == {}
