"""What the fleet table shows, and in which order. Pure: no Textual, no terminal, a clock handed in.

A `Row` is one line's place in the view: the record it shows now, the words a filter looks through, the value it is
sorted by. Rows live as long as their instance is listed, so that cursor and marks hold on to identities and never
to line numbers.

Filter grammar: words are looked for anywhere (`h100 east`), `column:value` in one column, `column<3` and `column>3`
compare, `!` before any of them turns it round, quotes keep spaces together. All terms must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from gpudash.ui.order import Row, Sorted, SortKey

R = TypeVar("R")

_TERM = re.compile(r'!?(?:[\w$/.%-]+[:<>]=?)?(?:"[^"]*"?|[^\s"]+)|!')
_COLUMN = re.compile(r"([\w$/.%-]*)([:<>])=?(.*)", re.DOTALL)


class Fields(NamedTuple, Generic[R]):
    """What a filter can name: words by column, and figures for comparisons."""

    words: Mapping[str, Callable[[R, datetime], str]]
    numbers: Mapping[str, Callable[[R, datetime], float | None]] = {}
    default_number: str = "price"
    """Which figure a bare ``<3`` means."""
    slow: frozenset[str] = frozenset()
    """Columns whose words or figures live with the clock and take long to make; searched slice by slice."""
    tests: Mapping[str, Callable[[str], Callable[[R], bool] | str]] = {}
    """Columns that are no text: what makes a test of the word given, or says what is wrong with it."""

    @property
    def names(self) -> list[str]:
        return sorted({*self.words, *self.numbers, *self.tests})


class Term(NamedTuple):
    """One condition of a filter."""

    word: str
    column: str | None = None
    sign: str = ":"
    negated: bool = False


@dataclass(frozen=True)
class Filter(Generic[R]):
    """A parsed filter. `problem` says in one line what of it was not understood; that part does not filter."""

    text: str
    terms: tuple[Term, ...]
    fields: Fields[R]
    problem: str | None = None

    @classmethod
    def parse(cls, text: str, fields: Fields[R]) -> Filter[R]:
        """Read a filter as it stands, half typed or not; nothing is an error that stops typing."""
        terms: list[Term] = []
        problem = None
        for raw in _TERM.findall(text):
            negated = raw.startswith("!")
            body = raw[1:] if negated else raw
            if not body:
                continue
            term, complaint = _term(body, negated, fields)
            problem = problem or complaint
            if term is not None:
                terms.append(term)
        return cls(text, tuple(terms), fields, problem)

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def is_slow(self) -> bool:
        """Ten thousand rows would be felt in the keys."""
        return any(term.column in self.fields.slow for term in self.terms)

    def narrows(self, other: Filter[R]) -> bool:
        """Whether all rows that fit this one surely fit the other, as when a word gets one more letter."""
        if not other.terms or len(self.terms) < len(other.terms):
            return False
        return all(self._narrows(new, old) for new, old in zip(self.terms, other.terms, strict=False))

    def _narrows(self, new: Term, old: Term) -> bool:
        if new == old:
            return True
        is_text = new.column is None or new.column in self.fields.words
        are_alike = new.column == old.column and new.sign == old.sign == ":" and not new.negated and not old.negated
        return is_text and are_alike and old.word in new.word

    def keep(self, rows: Iterable[Row[R]], needle: Callable[[R], str], now: datetime) -> list[Row[R]]:
        """Those rows that fit every term."""
        left = list(rows)
        for term in self.terms:
            left = self._apply(term, left, needle, now)
        return left

    def _apply(self, term: Term, rows: list[Row[R]], needle: Callable[[R], str], now: datetime) -> list[Row[R]]:
        if term.column is None:
            word = term.word
            for row in rows:
                if row.needle is None:
                    row.needle = needle(row.record)
            if term.negated:
                return [row for row in rows if word not in (row.needle or "")]
            return [row for row in rows if word in (row.needle or "")]
        if term.sign == ":" and term.column in self.fields.tests:
            test = self.fields.tests[term.column](term.word)
            return rows if isinstance(test, str) else [row for row in rows if test(row.record) is not term.negated]
        if term.sign == ":":
            words = self.fields.words[term.column]
            return [row for row in rows if (term.word in words(row.record, now).casefold()) is not term.negated]
        numbers, limit, less = self.fields.numbers[term.column], float(term.word), term.sign == "<"

        def fits(value: float | None) -> bool:
            return value is not None and ((value <= limit if less else value >= limit) is not term.negated)

        return [row for row in rows if fits(numbers(row.record, now))]


def _term(body: str, negated: bool, fields: Fields[R]) -> tuple[Term | None, str | None]:
    match = _COLUMN.fullmatch(body) if not body.startswith('"') else None
    if match is None:
        return Term(body.strip('"').casefold(), negated=negated), None
    column, sign, value = match[1].casefold(), match[2], match[3].strip('"').casefold()
    if sign == ":" and column in fields.tests:
        test = fields.tests[column](value) if value else None
        return (None, test) if test is None or isinstance(test, str) else (Term(value, column, ":", negated), None)
    if sign == ":":
        if column not in fields.words:
            if not column:
                return Term(body.casefold(), negated=negated), None
            return None, f"no column {column!r}; there are {', '.join(sorted({*fields.words, *fields.tests}))}"
        return (Term(value, column, ":", negated), None) if value else (None, None)
    column = column or fields.default_number
    if column not in fields.numbers:
        return None, f"{column!r} cannot be compared; {', '.join(sorted(fields.numbers))} can"
    try:
        float(value.lstrip("$"))
    except ValueError:
        return None, f"{column}{sign} wants a number" if value else None
    return Term(value.lstrip("$"), column, sign, negated), None


SLICE = 500
"""Rows that are looked at in one go where looking takes long."""
AT_ONCE = 1000
"""Up to so many are looked at in one go, however long it takes."""
MANY_MOVED = 400
"""Above so many changed rows, sorting anew is faster than putting each in its place."""


class View(Generic[R]):
    """Rows, filtered and sorted. Holds no screen state beyond what orders it.

    A few changed rows are taken out and put in their places; ten thousand are sorted only when the sort changes. A
    filter goes over the sorted rows and keeps their order.
    """

    def __init__(self, fields: Fields[R], needle: Callable[[R], str]) -> None:
        self.fields = fields
        self.rows: dict[Hashable, Row[R]] = {}
        self.order: list[Row[R]] = []
        self.filter: Filter[R] = Filter.parse("", fields)
        self.only: Callable[[R, datetime], bool] | None = None
        """A condition beside the filter (`!` faults only)."""
        self.sort_id = ""
        self.reverse = False
        self.placed = 0
        """Rows put in their place one by one so far; tests count it."""
        self._needle = needle
        self._sort_key: Callable[[R], SortKey | None] = lambda _: None
        self._all: Sorted[R] = Sorted()
        self._shown = self._all
        self._touched: dict[Row[R], _Move] = {}
        self._unsorted = True
        self._looked_for: tuple[object, object] = (self.filter, None)
        self._search: Iterator[Row[R]] | None = None
        self._round: Iterator[Row[R]] = iter(())
        self._number = 0
        self._filtered = 0
        """Filtered lists made so far."""

    def sort_by(self, sort_id: str, key: Callable[[R], SortKey | None], *, reverse: bool = False) -> None:
        """Order by another value; takes effect with the next `rebuild`."""
        self._unsorted = True
        self._settle()
        self.reverse = reverse
        if (sort_id, key) != (self.sort_id, self._sort_key):
            self.sort_id, self._sort_key = sort_id, key
            for row in self.rows.values():
                row.order = key(row.record)

    def replace_all(self, records: Mapping[Any, R]) -> None:
        """Take over a whole set of records; rows of keys that stay are kept."""
        for gone in [key for key in self.rows if key not in records]:
            self.drop(gone)
        if self.rows:
            for key, record in records.items():
                self.put(key, record)
            return
        order = self._sort_key
        self._unsorted = True
        self.rows = {key: Row(key, record, n, order(record)) for n, (key, record) in enumerate(records.items())}
        self._number = len(self.rows)

    def put(self, key: Hashable, record: R) -> bool:
        """Take over one record. True where the order or the filter may now be another."""
        row = self.rows.get(key)
        if row is None:
            self._number += 1
            row = self.rows[key] = Row(key, record, self._number, self._sort_key(record))
            if not self._unsorted:
                self._touched[row] = _Move(False, True, row.order)
            return True
        if row.record is record:
            return False
        row.record, row.needle = record, None
        order = self._sort_key(record)
        move = self._touched.get(row)
        if order == (row.order if move is None else move.order) and not self.filter and self.only is None:
            return False
        self._touched[row] = _Move(move is None or move.was_there, True, order)
        return True

    def drop(self, key: Hashable) -> bool:
        """Forget one record. True where it was there."""
        row = self.rows.pop(key, None)
        if row is None:
            return False
        move = self._touched.pop(row, None)
        if move is None or move.was_there:
            self._touched[row] = _Move(True, False, None)
        return True

    def look_again(self, now: datetime, limit: int) -> bool:
        """Ask the next `limit` rows again what moves with the clock: sort value and filter. True where one moved."""
        rows = list(islice(self._round, limit))
        if not rows:
            self._round = iter(list(self.rows.values()))
            rows = list(islice(self._round, limit))
        rows = [row for row in rows if row not in self._touched and self.rows.get(row.key) is row]
        fitting = set(self._fitting(rows, now)) if self._is_filtered and self._search is None else None
        moved = False
        for row in rows:
            order = self._sort_key(row.record)
            if order != row.order or (fitting is not None and (row in fitting) is not self.is_shown(row)):
                self._touched[row] = _Move(True, True, order)
                moved = True
        return moved

    def warm(self, limit: int) -> bool:
        """Make up to `limit` of the words a filter looks through, ahead of its first key. False when all are there."""
        for row in islice((row for row in self.rows.values() if row.needle is None), limit):
            row.needle = self._needle(row.record)
            limit -= 1
        return limit == 0

    def rebuild(self, now: datetime) -> None:
        """Filter and sort. The order among equals is that of arrival, so lines do not dance.

        Where looking takes long the first screens of rows are there at once and `is_searching` says so; `search_on`
        finds the rest.
        """
        looked_for = (self.filter, self.only)
        if self._unsorted or len(self._touched) > MANY_MOVED:
            self._settle()
            self._all.fill(self.rows.values(), self.reverse)
            self._unsorted = False
            self._search_from(self._all.rows, now)
        elif looked_for != self._looked_for or self._search is not None:
            self._mend(now)
            narrower = self._search is None and self.only is self._looked_for[1] and self.filter.narrows(self._last)
            self._search_from(self._shown.rows if narrower else self._all.rows, now)
        elif self._touched:
            self._mend(now)
        self._looked_for = looked_for

    def is_shown(self, row: Row[R]) -> bool:
        """It fits the filter, as of the last `rebuild`."""
        return self._shown is self._all or row.shown_in == self._shown.number

    def position(self, row: Row[R]) -> int:
        """Its line while it is shown, else -1. Looked for when asked: numbering ten thousand rows at each change of one
        would be felt."""
        order = self.order
        if 0 <= row.hint < len(order) and order[row.hint] is row:
            return row.hint
        if not self.is_shown(row):
            return -1
        place = -1 if self._unsorted else self._shown.place(row)
        if not (0 <= place < len(order) and order[place] is row):
            place = next((number for number, other in enumerate(order) if other is row), -1)
        row.hint = place
        return place

    @property
    def is_searching(self) -> bool:
        """Not every row has been looked at yet."""
        return self._search is not None

    def search_on(self, now: datetime) -> None:
        """Look at the next rows."""
        if self._search is None:
            return
        rows = list(islice(self._search, SLICE))
        self._show(self._fitting(rows, now))
        if len(rows) < SLICE:
            self._search = None

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _is_filtered(self) -> bool:
        return bool(self.filter) or self.only is not None

    @property
    def _last(self) -> Filter[R]:
        last = self._looked_for[0]
        assert isinstance(last, Filter)
        return last

    def _fitting(self, rows: Sequence[Row[R]], now: datetime) -> list[Row[R]]:
        if self.only is not None:
            only = self.only
            rows = [row for row in rows if only(row.record, now)]
        return self.filter.keep(rows, self._needle, now)

    def _search_from(self, rows: Sequence[Row[R]], now: datetime) -> None:
        """Show those that fit, in the order they have."""
        self._search = None
        if not self._is_filtered:
            self._shown = self._all
            self.order = self._all.rows
            return
        self._filtered += 1
        self._shown = Sorted(reverse=self.reverse, number=self._filtered)
        self.order = self._shown.rows
        if len(rows) <= AT_ONCE or not (self.filter.is_slow or self.only is not None):
            self._show(self._fitting(rows, now))
            return
        self._search = iter(list(rows))
        self.search_on(now)

    def _show(self, rows: Sequence[Row[R]]) -> None:
        number = self._shown.number
        for row in rows:
            row.shown_in = number
        self._shown.extend(rows)

    def _settle(self) -> None:
        """Let every row have the sort value it waits for; lists are made anew after that."""
        for row, move in self._touched.items():
            row.order = move.order
        self._touched.clear()

    def _mend(self, now: datetime) -> None:
        """Take the touched rows out and put each in its place."""
        filtered = self._shown is not self._all
        for row, move in self._touched.items():
            if move.was_there:
                self._all.take_out(row)
                if filtered and self.is_shown(row):
                    self._shown.take_out(row)
            row.shown_in = -1
        staying = [row for row, move in self._touched.items() if move.stays]
        for row in staying:
            row.order = self._touched[row].order
        fitting = set(self._fitting(staying, now)) if filtered else set()
        for row in staying:
            self._all.put_in(row)
            if row in fitting:
                row.shown_in = self._shown.number
                self._shown.put_in(row)
        self.placed += len(staying)
        self._touched.clear()


class _Move(NamedTuple):
    """What the next `rebuild` has to do with a row."""

    was_there: bool
    """It stands in the lists, by the sort value it has."""
    stays: bool
    order: SortKey | None
    """The sort value it will have."""
