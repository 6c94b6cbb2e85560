"""Order and filter, without a screen."""

from __future__ import annotations

import pytest

from gpudash.fleet.record import Record
from gpudash.ui import columns
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
