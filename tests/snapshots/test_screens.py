"""Pictures of the states that matter, small and large. Look at the report before ``pytest --snapshot-update``."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.snapshots.states import NARROW, STATES, WIDE, app_for, bring


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["160", "80"])
@pytest.mark.parametrize("name", STATES)
def test_state(snap_compare: Any, name: str, size: tuple[int, int]) -> None:
    state = STATES[name]
    assert snap_compare(app_for(state), terminal_size=size, run_before=partial(bring, state=state))


@pytest.mark.parametrize("theme", ["light", "colour-blind", "high-contrast", "terminal"])
def test_theme(snap_compare: Any, theme: str) -> None:
    state = STATES["fleet"]
    assert snap_compare(app_for(state, theme), terminal_size=WIDE, run_before=partial(bring, state=state))


@pytest.mark.parametrize("name", ["fleet", "terminate"])
def test_without_colour_in_ascii(snap_compare: Any, name: str) -> None:
    state = STATES[name]
    app = app_for(state, "plain", ascii_only=True)
    assert snap_compare(app, terminal_size=NARROW, run_before=partial(bring, state=state))
