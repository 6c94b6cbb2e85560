"""Says how what the person asked for ended. Everything else that changes is seen on its row and said nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudash.model.capability import Verb
from gpudash.model.operation import Operation, Stage

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp

_DONE = {
    Verb.LAUNCH: "is up and guarded",
    Verb.START: "runs",
    Verb.RESTART: "runs again",
    Verb.BID: "has its new bid",
    Verb.RENAME: "has its new name",
    Verb.INCREASE: "has its answer",
    Verb.STOP: "is stopped; the cloud confirms it",
    Verb.HIBERNATE: "is hibernated; the cloud confirms it",
    Verb.TERMINATE: "is gone; the cloud confirms it",
    Verb.EXTEND: "has its new deadline, read back from the host",
    Verb.KEEPALIVE: "is held awake",
    Verb.PUSH: "runs statusd; the policy was read back",
    Verb.ADOPT: "is managed by gpudash now",
}


class Announcer:
    """Follows the operations that were asked for on this screen."""

    def __init__(self, app: GpudashApp) -> None:
        self._app = app
        self._open: dict[str, Stage] = {}

    def follow(self, operation: Operation) -> None:
        """Say how this one ends."""
        if operation.stage.is_open:
            self._open[operation.id] = operation.stage
            self.changed()
        else:
            self._say(operation)

    def changed(self) -> None:
        """Look at what moved."""
        for op_id, before in list(self._open.items()):
            operation = self._app.fleet.store.operations.get(op_id)
            if operation is None or operation.stage is before:
                continue
            if operation.stage.is_open:
                self._open[op_id] = operation.stage
                if operation.stage in (Stage.RETRYING, Stage.AMBIGUOUS):
                    self._say(operation)
            else:
                del self._open[op_id]
                self._say(operation)

    def _say(self, operation: Operation) -> None:
        name = operation.name or (operation.key.id if operation.key else "the launch")
        if operation.stage is Stage.PROVED:
            self._app.say(f"✓ {name} {_DONE[operation.verb]}.", "tone-good")
        elif operation.stage is Stage.CANCELLED:
            self._app.say(f"{name}: the {operation.verb.value} was taken back; nothing was sent.", "tone-good")
        elif operation.stage is Stage.FAILED:
            self._app.say(f"✗ {operation.verb.value} {name}: {operation.detail}", "tone-bad")
        elif operation.stage is Stage.AMBIGUOUS:
            self._app.say(
                f"{operation.verb.value} {name}: no answer; it may have happened. A listing will tell.", "tone-warn"
            )
        elif operation.stage is Stage.RETRYING:
            self._app.say(
                f"{operation.verb.value} {name}: {operation.detail or 'not done yet'}; asked again by itself.",
                "tone-bad",
            )
