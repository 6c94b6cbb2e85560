"""From a command line to a running app: terminal checks, early frame, theme, clock, fleet, and a clean way out of all
of it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpudash import paths
from gpudash.errors import GpudashError
from gpudash.ui.earlyframe import EarlyFrame

if TYPE_CHECKING:
    from textual.app import App
    from textual.driver import Driver

    from gpudash.config import Config
    from gpudash.ui.app import GpudashApp
    from gpudash.ui.background import Answers
    from gpudash.ui.port import FleetPort

DEMO_HOSTS = 6
"""Started where a demo finds none."""
SWITCH_INTERVAL_S = 0.0005
"""A busy thread gives way to a key after half a millisecond, not five."""


@dataclass(frozen=True)
class Run:
    """One start of the dashboard, as it was asked for."""

    config: Config
    demo: bool = False
    speed: float = 1.0
    fresh: bool = False
    synthetic: int | None = None
    read_only: bool = False

    @property
    def kind(self) -> str:
        """Frames of one kind are never shown for another."""
        return "synthetic" if self.synthetic else "demo" if self.demo else "fleet"

    @property
    def badge(self) -> str:
        """What stands at the right of the strip."""
        words = ["read-only"] if self.read_only else []
        if self.synthetic:
            words.append("made-up rows")
        elif self.demo:
            words.append("sandbox" if self.speed == 1 else f"sandbox ×{self.speed:g}")
        return " · ".join(words)


def launch(run: Run) -> int:
    """Run the dashboard on this terminal; its exit code."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("gpudash: the dashboard needs a terminal. `gpudash ls` prints the same to a pipe.\n")
        return 2
    # Ten thousand new classes and functions are no garbage: collecting among them costs 30 ms before the first frame.
    gc.disable()
    no_color = _prepare_environment()
    early = EarlyFrame(paths.frames_dir(), run.kind, asks_background=_wants_to_know(run, no_color))
    early.show()
    app: GpudashApp | None = None
    try:
        app, close = _build(run, early, no_color)
        try:
            app.run(mouse=not _keeps_escape_back(os.environ))
        finally:
            close()
    except GpudashError as exc:
        early.leave_screen()
        early.give_back()
        sys.stderr.write(f"gpudash: {exc}\n")
        return int(exc.exit_code)
    except BaseException:
        early.leave_screen()
        raise
    finally:
        early.give_back()
        gc.enable()
    if app.crash is not None:
        sys.stderr.write(f"gpudash stopped on an error of its own. The report is in {_report(app.crash)}\n")
        return 1
    return app.return_value if app.return_value is not None else app.return_code or 0


def _prepare_environment() -> bool:
    """What Textual reads while it is imported. True where the person wants no colour."""
    os.environ.setdefault("TEXTUAL_FPS", "240")
    os.environ.setdefault("ESCDELAY", "35")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    no_color = os.environ.pop("NO_COLOR", None)
    if no_color is None:
        return False
    # Textual would answer NO_COLOR with 24-bit greys; a theme without colours says it plainly. Children get it back.
    from gpudash.ui import childenv

    childenv.GIVEN_BACK["NO_COLOR"] = no_color
    return True


def _wants_to_know(run: Run, no_color: bool) -> bool:
    """The terminal's background matters only where nobody chose a theme."""
    from gpudash.ui.background import can_be_asked

    return run.config.defaults.theme is None and not no_color and can_be_asked(os.environ)


def _keeps_escape_back(environment: Mapping[str, str]) -> bool:
    """GNU screen keeps a lone Esc until the next key while a program asks for the mouse; Esc is worth more."""
    return "STY" in environment and "TMUX" not in environment


def _build(run: Run, early: EarlyFrame, no_color: bool) -> tuple[GpudashApp, Callable[[], None]]:
    from gpudash.ui.app import GpudashApp, Options
    from gpudash.ui.glyphs import wants_ascii
    from gpudash.ui.pick_theme import pick_theme

    fleet, close, notice = _fleet(run)
    try:
        typed, answers = early.heard()
        theme, problems = pick_theme(run.config.defaults.theme, no_color=no_color, light=answers.light)
        options = Options(
            theme=theme,
            ascii_only=wants_ascii(),
            badge=run.badge,
            welcome=_is_first_run(run),
            prepare=_start_hosts if run.kind == "demo" and not run.read_only else None,
            start_hosts=None if run.read_only else _start_hosts,
            problems=problems,
            ledger_notice=notice,
            views_file=None if run.synthetic else paths.state_dir() / f"views-{run.kind}.json",
            frame_saver=lambda app: _keep_frame(app, early),
            terminal_before=early.terminal_before,
        )
        return GpudashApp(fleet, options, driver=_driver(typed, answers)), close
    except BaseException:
        close()
        raise


def _driver(typed: bytes, answers: Answers) -> type[Driver] | None:
    """Ours where there are terminals of that kind."""
    if sys.platform == "win32":
        return None
    from gpudash.ui.driver import QuickEscapeDriver

    return QuickEscapeDriver.after(typed, answers)


def _fleet(run: Run) -> tuple[FleetPort, Callable[[], None], str | None]:
    if run.synthetic:
        from gpudash.ui.synthetic.rows import SyntheticFleet

        return SyntheticFleet(run.synthetic, config=run.config, read_only=run.read_only), lambda: None, None
    from gpudash.fleet.fleet import Fleet
    from gpudash.fleet.session import Session

    if run.demo:
        _set_sandbox_clock(run)
    session = Session.open(
        run.config, accounts=["sandbox"] if run.demo else None, read_only=run.read_only, actor="dashboard"
    )
    return Fleet(session), session.close, session.ledger.notice


def _set_sandbox_clock(run: Run) -> None:
    from gpudash.clock import ScaledClock

    if run.fresh:
        from gpudash.ledger import Ledger
        from gpudash.providers.sandbox import control

        control.reset()
        ledger = Ledger.open(paths.ledger_file(), control.clock())
        try:
            ledger.forget_account("sandbox")
        finally:
            ledger.close()
    clock = ScaledClock(paths.sandbox_dir() / "clock.json")
    if clock.speed != run.speed:
        clock.set_speed(run.speed)


async def _start_hosts(fleet: FleetPort) -> None:
    """A demo without hosts launches some, beside the first frame; the last one is a box that somebody forgot to guard."""
    from gpudash.fleet.lanes import Lane
    from gpudash.providers.sandbox import control

    lane = Lane("demo hosts")
    try:
        if await lane.call(lambda: control.sandbox().hosts()):
            return
        *guarded, forgotten = control.demo_orders(fleet.clock, DEMO_HOSTS)
        await lane.call(control.launch_unguarded, forgotten)
        for order in guarded:
            await fleet.launch(order)
        fleet.refresh()
    finally:
        lane.close()


def _is_first_run(run: Run) -> bool:
    clouds = [account for account in run.config.accounts.values() if account.provider != "sandbox"]
    return not run.demo and not run.synthetic and not clouds and not _has_sandbox_hosts()


def _has_sandbox_hosts() -> bool:
    """Who has filled the sandbox knows the way, and wants to see its hosts."""
    try:
        return any(not name.startswith(".") for name in os.listdir(paths.sandbox_dir() / "hosts"))
    except OSError:
        return False


def _keep_frame(app: App[Any], early: EarlyFrame) -> None:
    """Store what is on screen, marked with its time, for the next start."""
    from gpudash.ui.delta import Shown
    from gpudash.ui.screens.fleet import FleetScreen

    screen = app.screen_stack[0]
    if app.screen is not screen or not isinstance(screen, FleetScreen):
        return
    screen.mark_as_old()
    frame = Shown().bytes_for(screen._compositor.render_full_update(), app.console._color_system)
    if frame:
        early.keep(frame, *app.size)


def _report(crash: BaseException) -> str:
    import traceback
    from datetime import datetime

    from gpudash import __version__
    from gpudash.clock import SystemClock

    now: datetime = SystemClock().now()
    path = paths.state_dir() / f"crash-{now:%Y%m%d-%H%M%S}.txt"
    words = [f"gpudash {__version__}, Python {sys.version.split()[0]}, {now:%Y-%m-%d %H:%M:%S} UTC\n\n"]
    words += traceback.format_exception(crash)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(words)
    return str(path)
