"""What the fleet table shows, and in which order. Pure: no Textual, no terminal, a clock handed in.

A `Row` is one line's place in the view: the record it shows now, the words a filter looks through, the value it is
sorted by. Rows live as long as their instance is listed, so that cursor and marks hold on to identities and never
to line numbers.

Filter grammar: words are looked for anywhere (`h100 east`), `column:value` in one column, `column<3` and `column>3`
compare, `!` before any of them turns it round, quotes keep spaces together. All terms must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

R = TypeVar("R")

SortKey = float | str
"""What rows are ordered by; None sorts last, whichever way."""

_TERM = re.compile(r'!?(?:[\w$/.%-]+[:<>]=?)?(?:"[^"]*"?|[^\s"]+)|!')
_COLUMN = re.compile(r"([\w$/.%-]*)([:<>])=?(.*)", re.DOTALL)


class Fields(NamedTuple, Generic[R]):
    """What a filter can name: words by column, and figures for comparisons."""

    words: Mapping[str, Callable[[R, datetime], str]]
    numbers: Mapping[str, Callable[[R, datetime], float | None]] = {}
    default_number: str = "price"
    """Which figure a bare ``<3`` means."""
    tests: Mapping[str, Callable[[str], Callable[[R], bool] | str]] = {}
    """Columns that are no text: what makes a test of the word given, or says what is wrong with it."""

    @property
    def names(self) -> list[str]:
        return sorted({*self.words, *self.numbers, *self.tests})


@dataclass(eq=False, slots=True)
class Row(Generic[R]):
    """One line's place in a view."""

    key: Hashable
    record: R
    needle: str | None = None
    """Lower-case text that plain words are looked for in; made when first needed."""
    order: SortKey | None = None
    position: int = -1
    """Its line while it is shown, else -1."""


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


class View(Generic[R]):
    """Rows, filtered and sorted. Holds no screen state beyond what orders it."""

    def __init__(self, fields: Fields[R], needle: Callable[[R], str]) -> None:
        self.fields = fields
        self.rows: dict[Hashable, Row[R]] = {}
        self.order: list[Row[R]] = []
        self.filter: Filter[R] = Filter.parse("", fields)
        self.only: Callable[[R, datetime], bool] | None = None
        """A condition beside the filter (`!` faults only)."""
        self._needle = needle
        self._sort_key: Callable[[R], SortKey | None] = lambda _: None
        self.sort_id = ""
        self.reverse = False

    def sort_by(self, sort_id: str, key: Callable[[R], SortKey | None], *, reverse: bool = False) -> None:
        """Order by another value; takes effect with the next `rebuild`."""
        self.sort_id, self._sort_key, self.reverse = sort_id, key, reverse
        for row in self.rows.values():
            row.order = key(row.record)

    def replace_all(self, records: Mapping[Any, R]) -> None:
        """Take over a whole set of records; rows of keys that stay are kept."""
        for gone in [key for key in self.rows if key not in records]:
            self.rows.pop(gone).position = -1
        for key, record in records.items():
            self.put(key, record)

    def put(self, key: Hashable, record: R) -> bool:
        """Take over one record. True where the order or the filter may now be another."""
        row = self.rows.get(key)
        if row is None:
            self.rows[key] = Row(key, record, order=self._sort_key(record))
            return True
        if row.record is record:
            return False
        row.record, row.needle = record, None
        order = self._sort_key(record)
        moved = order != row.order
        row.order = order
        return moved or bool(self.filter) or self.only is not None

    def drop(self, key: Hashable) -> bool:
        """Forget one record. True where it was there."""
        row = self.rows.pop(key, None)
        if row is None:
            return False
        row.position = -1
        return True

    def rerank(self) -> bool:
        """Ask every row's sort value again, for those that change with the clock. True where one moved."""
        moved = False
        for row in self.rows.values():
            order = self._sort_key(row.record)
            if order != row.order:
                row.order = order
                moved = True
        return moved

    def rebuild(self, now: datetime) -> None:
        """Filter and sort. The order among equals is that of arrival, so lines do not dance."""
        for row in self.order:
            row.position = -1
        shown = list(self.rows.values())
        if self.only is not None:
            only = self.only
            shown = [row for row in shown if only(row.record, now)]
        if self.filter:
            shown = self.filter.keep(shown, self._needle, now)
        known = [row for row in shown if row.order is not None]
        unknown = [row for row in shown if row.order is None] if len(known) < len(shown) else []
        known.sort(key=_order, reverse=self.reverse)
        self.order = known + unknown
        for position, row in enumerate(self.order):
            row.position = position

    def warm(self, limit: int) -> bool:
        """Make up to `limit` needles ahead of the first filter key. False when there is nothing left to make."""
        for row in self.rows.values():
            if row.needle is None:
                row.needle = self._needle(row.record)
                limit -= 1
                if limit == 0:
                    return True
        return False


def _order(row: Row[R]) -> SortKey:
    assert row.order is not None
    return row.order
