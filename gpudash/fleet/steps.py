"""The lines of progress of an operation: ``✓ price checked   ✓ asked   ● booting   · ssh   · statusd   · armed``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from gpudash.model.operation import Step

LAUNCH = ("price", "asked", "booting", "ssh", "statusd", "armed")
"""The way of a launch."""
SHORT = ("asked", "proved")
"""The way of everything else."""
DONE, NOW, TODO, FAILED = "done", "now", "todo", "failed"


def begin(names: Iterable[str]) -> tuple[Step, ...]:
    """All still to do, the first one under way."""
    return tuple(Step(name, TODO if index else NOW) for index, name in enumerate(names))


def at(steps: tuple[Step, ...], name: str, detail: str = "", *, state: str = NOW) -> tuple[Step, ...]:
    """The operation stands at that step: those before it are done, those after it are to do."""
    names = [step.name for step in steps]
    if name not in names:
        return steps
    here = names.index(name)
    return tuple(
        _done(step, None) if i < here else replace(step, state=state, detail=detail) if i == here else _todo(step)
        for i, step in enumerate(steps)
    )


def done(steps: tuple[Step, ...], name: str, detail: str, when: datetime) -> tuple[Step, ...]:
    """That step is behind us, and the next one under way."""
    names = [step.name for step in steps]
    if name not in names:
        return steps
    here = names.index(name)
    return tuple(
        _done(step, when if i == here else None, detail if i == here else step.detail)
        if i <= here
        else replace(step, state=NOW)
        if i == here + 1 and step.state != DONE
        else step
        for i, step in enumerate(steps)
    )


def all_done(steps: tuple[Step, ...], when: datetime) -> tuple[Step, ...]:
    """Arrived."""
    return tuple(_done(step, when) for step in steps)


def failed(steps: tuple[Step, ...], detail: str) -> tuple[Step, ...]:
    """The step under way did not work."""
    return tuple(replace(step, state=FAILED, detail=detail) if step.state == NOW else step for step in steps)


def is_done(steps: tuple[Step, ...], name: str) -> bool:
    """That step is behind us."""
    return any(step.name == name and step.state == DONE for step in steps)


def _done(step: Step, when: datetime | None, detail: str | None = None) -> Step:
    if step.state == DONE:
        return step
    return replace(step, state=DONE, at=step.at or when, detail=step.detail if detail is None else detail)


def _todo(step: Step) -> Step:
    return step if step.state == TODO else replace(step, state=TODO, detail="")
