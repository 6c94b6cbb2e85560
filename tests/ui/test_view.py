"""Order and filter, without a screen."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from gpudash.clock import ManualClock
from gpudash.fleet.record import Record
from gpudash.ui import columns
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from gpudash.ui.view import Filter, View


@pytest.fixture
def view() -> View[Record]:
    made: View[Record] = View(columns.FIELDS, columns.needle)
    made.sort_by(columns.FIRST, columns.SORT_FIRST)
    made.replace_all(sample_fleet().store.records)
    made.rebuild(NOW)
    return made


def names(view: View[Record]) -> list[str]:
    return [row.record.instance.name for row in view.order]


def filtered(view: View[Record], text: str) -> set[str]:
    view.filter = Filter.parse(text, columns.FIELDS)
    view.rebuild(NOW)
    return set(names(view))


def test_money_at_risk_comes_first_and_what_does_not_run_last(view: View[Record]) -> None:
    order = names(view)
    assert order[0] == "probe-7"
    assert set(order[1:3]) == {"old-test", "sweep-3"}
    assert order[-1] == "notebooks"
    assert order.index("comfy") < order.index("train-llama") < order.index("serve-mixtral")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h100", {"train-llama"}),
        ("LAMBDA us-west", {"train-llama", "probe-7"}),
        ("account:aws", {"old-test", "serve-mixtral"}),
        ("account:aws gpu:l40", {"serve-mixtral"}),
        ("guard:none", {"old-test", "sweep-3"}),
        ("!guard:none state:running account:vast", {"comfy"}),
        ("state:billing", {"probe-7"}),
        ("price>4", {"train-llama", "serve-mixtral"}),
        ("<0.41", {"comfy", "eval", "notebooks"}),
        ("!<0.5", {"old-test", "probe-7", "train-llama", "serve-mixtral", "sweep-3"}),
        ("gpus>=4", {"train-llama", "serve-mixtral"}),
        ("util>90", {"train-llama"}),
        ("ends:idle", {"comfy"}),
        ("managed:no", {"old-test"}),
        ('"rtx 4090"', {"comfy", "sweep-3"}),
        ("!aws !lambda !vast", {"eval", "notebooks"}),
        ("nothing-like-this", set()),
    ],
)
def test_filter_grammar(view: View[Record], text: str, expected: set[str]) -> None:
    assert filtered(view, text) == expected


@pytest.mark.parametrize("text", ["account:aws", "!h100", "price>1", "guard:none ends:never", "lambda train"])
def test_typing_letter_by_letter_comes_to_the_same_as_all_at_once(view: View[Record], text: str) -> None:
    for end in range(1, len(text) + 1):
        filtered(view, text[:end])
        assert names(view) == rebuilt(view)


def test_only_a_longer_word_of_text_narrows() -> None:
    def narrows(new: str, old: str, **more: object) -> bool:
        fields = columns.FIELDS._replace(**more)  # type: ignore[arg-type]
        return Filter.parse(new, fields).narrows(Filter.parse(old, fields))

    assert narrows("tra", "tr")
    assert narrows("tra account:aws", "tr")
    assert not narrows("!tra", "!tr")
    assert not narrows("price>10", "price>1")
    assert not narrows("fits:70b", "fits:7", tests={"fits": lambda word: lambda record: True})
    assert not narrows("t", "")


@pytest.mark.parametrize("text", ["", "  ", "!", "account:", "price<", '"', "!!", ":", "<", "a:b:c", "price<x"])
def test_half_typed_filters_are_no_errors(view: View[Record], text: str) -> None:
    filtered(view, text)


def test_an_unknown_column_is_named_and_does_not_hide_everything(view: View[Record]) -> None:
    assert len(filtered(view, "colour:red")) == 8
    assert view.filter.problem is not None
    assert "colour" in view.filter.problem


@pytest.mark.parametrize("column", [column for column in columns.FLEET if column.sort], ids=lambda column: column.id)
def test_every_column_sorts_and_unknown_is_last_both_ways(view: View[Record], column: columns.Column[Record]) -> None:
    assert column.sort is not None
    for reverse in (False, True):
        view.sort_by(column.id, column.sort, reverse=reverse)
        view.rebuild(NOW)
        known = [row.order is not None for row in view.order]
        assert known == sorted(known, reverse=True)
        assert len(view.order) == 8


def test_an_unchanged_record_does_not_move_anything(view: View[Record]) -> None:
    row = view.order[3]
    assert view.put(row.key, row.record) is False


def test_faults_are_what_needs_a_person(view: View[Record]) -> None:
    view.only = columns.is_fault
    view.rebuild(NOW)
    assert set(names(view)) == {"probe-7", "old-test", "sweep-3", "eval"}


def rebuilt(view: View[Record]) -> list[str]:
    """The same rows, filtered and sorted from nothing."""
    fresh: View[Record] = View(columns.FIELDS, columns.needle)
    fresh.sort_by(view.sort_id, view._sort_key, reverse=view.reverse)
    fresh.filter, fresh.only = view.filter, view.only
    for row in view.rows.values():
        fresh.put(row.key, row.record)
    fresh.rebuild(NOW)
    return names(fresh)


@pytest.mark.parametrize("seed", range(4))
def test_rows_put_in_place_one_by_one_stand_as_if_all_were_sorted_anew(seed: int) -> None:
    chance = random.Random(seed)
    fleet = SyntheticFleet(300, ManualClock(NOW))
    spare = SyntheticFleet(600, ManualClock(NOW)).store.records
    view: View[Record] = View(columns.FIELDS, columns.needle)
    view.sort_by(columns.FIRST, columns.SORT_FIRST)
    view.replace_all(fleet.store.records)
    sorts = [column for column in columns.FLEET if column.sort]
    for _ in range(60):
        action = chance.randrange(10)
        if action == 0:
            column = chance.choice(sorts)
            view.sort_by(column.id, column.sort, reverse=chance.random() < 0.5)
        elif action == 1:
            view.filter = Filter.parse(
                chance.choice(["", "t", "tr", "account:aws", "price>3", "!eval"]), columns.FIELDS
            )
        elif action == 2:
            view.only = chance.choice([None, columns.is_fault])
        for key in chance.sample(list(view.rows), 20):
            record = view.rows[key].record
            status = record.status and replace(record.status, idle_s=chance.choice([None, 5.0, 900.0]))
            later = record.listed_at + timedelta(seconds=chance.choice((0, 60)))
            view.put(key, replace(record, status=status, listed_at=later))
        for key in chance.sample(list(view.rows), 3):
            view.drop(key)
        for key, record in chance.sample(list(spare.items()), 4):
            view.put(key, record)
        view.rebuild(NOW)
        assert names(view) == rebuilt(view)
        assert [view.position(row) for row in view.order] == list(range(len(view.order)))
        shown = set(view.order)
        assert all(
            view.position(row) == -1 and not view.is_shown(row) for row in view.rows.values() if row not in shown
        )


def test_a_few_changed_rows_are_put_in_place_and_the_rest_is_left_alone() -> None:
    fleet = SyntheticFleet(2000, ManualClock(NOW))
    view: View[Record] = View(columns.FIELDS, columns.needle)
    view.sort_by("spent", columns.spent_so_far)
    view.replace_all(fleet.store.records)
    view.rebuild(NOW)
    for key in list(view.rows)[:7]:
        view.put(key, replace(view.rows[key].record, listed_at=NOW + timedelta(hours=2)))
    view.rebuild(NOW)
    assert view.placed == 7


def test_what_moves_with_the_clock_alone_is_found_within_a_round_of_looks() -> None:
    view: View[Record] = View(columns.FIELDS, columns.needle)
    view.sort_by(columns.FIRST, columns.SORT_FIRST)
    view.replace_all(SyntheticFleet(300, ManualClock(NOW)).store.records)
    view.filter = Filter.parse("guard:armed", columns.FIELDS)
    view.rebuild(NOW)
    armed = len(view.order)
    later = NOW + timedelta(minutes=5)
    for _ in range(4):
        view.look_again(later, 100)
    view.rebuild(later)
    assert armed > 0
    assert view.order == []


def test_a_slow_filter_over_many_rows_shows_the_first_at_once_and_comes_to_the_same() -> None:
    view: View[Record] = View(columns.FIELDS, columns.needle)
    view.sort_by(columns.FIRST, columns.SORT_FIRST)
    view.replace_all(SyntheticFleet(3000, ManualClock(NOW)).store.records)
    view.rebuild(NOW)
    every = [row for row in view.order if columns.FIELDS.words["guard"](row.record, NOW).endswith("armed")]
    view.filter = Filter.parse("guard:armed", columns.FIELDS)
    view.rebuild(NOW)
    assert view.is_searching
    assert view.order == every[: len(view.order)]
    while view.is_searching:
        view.search_on(NOW)
    assert view.order == every
