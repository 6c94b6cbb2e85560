"""Leaves the screen to the real ssh, and comes back whole whatever becomes of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from gpudash.ui.childenv import environment

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp


def run_shell(app: GpudashApp, argv: Sequence[str], name: str) -> None:
    """Run an interactive child in the app's place. All is caught inside: Textual's `suspend` has no ``finally``."""
    problem: str | None = None
    status = 0
    try:
        with app.batch_update(), app.suspend():
            try:
                sys.stdout.write(f"\x1b[2m{name}: {' '.join(argv)}   (exit comes back to gpudash)\x1b[0m\r\n")
                sys.stdout.flush()
                with _keys_for_the_child():
                    status = subprocess.run(list(argv), check=False, env=environment()).returncode
            except (OSError, ValueError) as exc:
                problem = f"{argv[0] if argv else 'ssh'}: {exc}"
    except SuspendNotSupported:
        problem = "This terminal cannot be handed over; y copies the ssh command instead."
    app.repaint_all()
    if problem:
        app.say(problem, "tone-bad")
    elif status == 255:
        app.say(f"ssh to {name} failed (exit 255); its words are above in the terminal's own screen.", "tone-bad")


@contextlib.contextmanager
def _keys_for_the_child() -> Iterator[None]:
    """While the child runs, Ctrl-C and Ctrl-backslash are its own."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
