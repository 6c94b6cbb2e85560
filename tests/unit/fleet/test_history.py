"""Utilisation of the last polls, a byte a reading."""

from __future__ import annotations

from gpudash.fleet.history import LENGTH, History


def test_readings_come_back_in_whole_percents_and_unknown_stays_unknown() -> None:
    history = History([0.0, 12.4, None]).after(99.6).after(None)
    assert list(history) == [0.0, 12.0, None, 100.0, None]
    assert history[-2:] == (100.0, None)
    assert history[3] == 100.0
    assert len(history) == 5


def test_the_oldest_is_forgotten_and_the_former_history_stays_as_it_was() -> None:
    first = History(range(LENGTH))
    then = first.after(7.0)
    assert len(first) == len(then) == LENGTH
    assert (first[0], then[0], then[-1]) == (0.0, 1.0, 7.0)


def test_equal_readings_are_equal_histories() -> None:
    assert History([1.0, None]) == History([1.0]).after(None)
    assert hash(History([1.0])) == hash(History([1.2]))
    assert History([1.0]) != History([2.0])
