"""Launches under way, one line each, between strip and table; gone when there are none."""

from __future__ import annotations

from gpudash.model.capability import Verb
from gpudash.model.operation import Operation, Stage
from gpudash.ui import format as fmt
from gpudash.ui.panels import step_spans
from gpudash.ui.scene import Line, Scene
from gpudash.ui.widgets.paint import PaintedBlock

_MOST = 3
_FAILED_FOR_S = 60
BRIEF_BELOW = 110
"""Cells under which all steps are seen only without the times of those that are done."""


class Running(PaintedBlock):
    """Open launches, and those that failed a moment ago."""

    ground = "surface"
    DEFAULT_CSS = "Running { height: 0; }"

    def refresh_height(self) -> None:
        """As many lines as there are launches to show."""
        wanted = min(_MOST, len(self._shown(self.scene())))
        if self.size.height != wanted:
            self.styles.height = wanted
        self.update_lines()

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        return [_line(operation, scene, brief=width < BRIEF_BELOW) for operation in self._shown(scene)[:height]]

    def _shown(self, scene: Scene) -> list[Operation]:
        operations = self.gpudash.fleet.store.operations.values()
        launches = [
            operation for operation in operations if operation.verb is Verb.LAUNCH and _counts(operation, scene)
        ]
        return sorted(launches, key=lambda operation: operation.requested_at, reverse=True)


def _counts(operation: Operation, scene: Scene) -> bool:
    if operation.stage.is_open:
        return True
    age = scene.real(scene.now - operation.updated_at).total_seconds()
    return operation.stage is Stage.FAILED and age < _FAILED_FOR_S


def _line(operation: Operation, scene: Scene, *, brief: bool) -> Line:
    name = fmt.fit(operation.name or "new", 12 if brief else 18)
    head: Line = ((" launch ", "label"), (name, "value"), ("  ", "text"))
    if operation.stage is Stage.FAILED:
        return (*head, ("✗ ", "tone-bad"), (fmt.clean(operation.detail), "tone-bad"))
    if operation.stage is Stage.AMBIGUOUS:
        return (*head, ("? no answer; a listing will tell whether it happened", "tone-warn"))
    return (*head, *step_spans(operation, scene, brief=brief))
