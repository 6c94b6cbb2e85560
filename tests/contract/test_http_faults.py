"""Every cloud behind HTTP through every fault; ``docs/faults.md`` shows what was seen.

``pytest tests/contract/test_http_faults.py --write-faults`` writes the tables anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest
from support import serverless_faults as serverless
from support.http_faults import HTTP_CLOUDS, VERBS, Row, rows_of, run

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
MARK = "<!-- From here on written by tests/contract/test_http_faults.py -->\n"
CELLS = [(name, row) for name in HTTP_CLOUDS for row in rows_of(name)]
_ROWS = {(name, row.name): row for name, row in CELLS}


@cache
def seen(name: str, fault: str) -> tuple[str, ...]:
    """What a listing, a launch and an end of that cloud see of the fault."""
    return tuple(run(name, _ROWS[name, fault], verb) for verb in VERBS)


@pytest.mark.parametrize(("name", "row"), CELLS, ids=lambda part: part.name if isinstance(part, Row) else part)
def test_nothing_is_claimed_that_is_not_so(name: str, row: Row) -> None:
    """A definite no left nothing behind, a lost answer is ambiguous, nothing is asked twice, no key is told."""
    assert len(seen(name, row.name)) == len(VERBS)


@cache
def seen_serverless(row: Row) -> tuple[str, ...]:
    """What the list of endpoints, and each change of bounds, queue and jobs, see of the fault."""
    return tuple(serverless.run(row, verb) for verb in serverless.VERBS)


@pytest.mark.parametrize("row", serverless.FAULTS, ids=lambda row: row.name)
def test_nothing_is_claimed_of_endpoints_that_is_not_so(row: Row) -> None:
    """The same of jobs and bounds: a definite no changed nothing, a yes did, a lost answer is ambiguous."""
    assert len(seen_serverless(row)) == len(serverless.VERBS)


def test_the_page_shows_what_was_seen(request: pytest.FixtureRequest) -> None:
    """The tables people read are those of this run."""
    tables = "".join(
        _table(name, VERBS, {row.name: seen(name, row.name) for row in rows_of(name)}) for name in HTTP_CLOUDS
    )
    tables += _table(serverless.NAME, serverless.VERBS, {row.name: seen_serverless(row) for row in serverless.FAULTS})
    prose = PAGE.read_text().partition(MARK)[0]
    if request.config.getoption("--write-faults"):
        PAGE.write_text(prose + MARK + tables)
    assert PAGE.read_text() == prose + MARK + tables


def _table(name: str, verbs: Iterable[str], rows: Mapping[str, tuple[str, ...]]) -> str:
    heads = ["what goes wrong", *verbs]
    lines = [f"\n## {name}\n", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {row} | {' | '.join(cells)} |" for row, cells in rows.items()]
    return "\n".join(lines) + "\n"
