"""A host's history, read from the daemon's document."""

from __future__ import annotations

import pytest

from gpudash.clock import parse_iso
from gpudash.model.history import parse_history
from gpudash.model.host import Verdict

BODY = {
    "step_s": 60,
    "minutes": ["2026-01-02T03:04:00Z", "2026-01-02T03:05:00Z"],
    "signals": {"gpu": {"unit": "%", "values": [97.5, None], "verdicts": "au"}},
}


def test_columns_stand_side_by_side() -> None:
    """Minutes, values and verdicts have the same length; unknown stays unknown."""
    history = parse_history(BODY)
    (gpu,) = history.signals
    assert history.minutes[1] == parse_iso("2026-01-02T03:05:00Z")
    assert (gpu.values, gpu.verdicts) == ((97.5, None), (Verdict.ACTIVE, Verdict.UNKNOWN))


@pytest.mark.parametrize(
    "body", [{}, {"minutes": [], "signals": 7}, {**BODY, "minutes": ["2026-01-02T03:04:00Z"]}, {"minutes": ["now"]}]
)
def test_nonsense_is_refused(body: dict[str, object]) -> None:
    """A document that is none, or whose columns do not match, is no history."""
    with pytest.raises(ValueError, match=r"."):
        parse_history(body)
