"""The app: registers modes, themes, clock and fleet, hands change sets and beats to its screens, and answers keys that
cannot act.

Nothing about instances is decided here. Screens own their widgets, `verbs` the changes of the world, `view` the
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from rich.console import RenderableType
from rich.control import Control
from textual import events
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.binding import BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.screen import Screen
from textual.timer import Timer

from gpudash.errors import ConfigError, GpudashError
from gpudash.fleet.changes import ChangeSet
from gpudash.ui import actions, themes
from gpudash.ui.announce import Announcer
from gpudash.ui.delta import Shown
from gpudash.ui.frames import Frames
from gpudash.ui.pick_theme import BackgroundTold
from gpudash.ui.port import FleetPort
from gpudash.ui.remembered import Remembered, Views
from gpudash.ui.scene import Scene
from gpudash.ui.screens.base import Living
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.widgets.footer import Footer
from gpudash.ui.widgets.paint import Painted, Painter

BEAT_S = 1.0
"""One tick a second; everything that lives with the clock is drawn from it."""
GATHER_S = 0.04
"""Change sets that come within this time are drawn together."""
SAVE_VIEWS_S = 1.0
"""A filter that is being typed is written once, not with every letter."""
QUIT_S = 2.5
"""How long leaving waits for what is on its way."""
LEAST_SIZE = (60, 14)
"""Below this a terminal gets a word instead of a screen."""


_LATER = ("confirm", "extend", "launch", "instance", "palette", "help", "tunnels", "events", "costs", "leftovers")


def preload() -> None:
    """Import the screens that keys open, and read the themes that the palette lists."""
    for name in _LATER:
        import_module(f"gpudash.ui.screens.{name}")
    themes.load_all()


class Options(NamedTuple):
    """How this run of the dashboard differs from a plain one."""

    theme: str = themes.DEFAULT_DARK
    ascii_only: bool = False
    badge: str = ""
    """Stands at the right of the strip: ``sandbox ×60``."""
    zone: tzinfo | None = None
    welcome: bool = False
    """Start with the welcome screen: there is no cloud account."""
    prepare: Callable[[FleetPort], Coroutine[Any, Any, None]] | None = None
    """Runs beside the first frame, such as starting a few demo hosts."""
    start_hosts: Callable[[FleetPort], Coroutine[Any, Any, None]] | None = None
    """Fills an empty sandbox, when the welcome screen is answered so."""
    problems: tuple[str, ...] = ()
    """What was wrong with settings, themes or keys; said once."""
    ledger_notice: str | None = None
    views_file: Path | None = None
    """Where filters and orders of the screens are kept; None forgets them at the end."""
    frame_saver: Callable[[App[int]], None] | None = None
    """Keeps the last frame for the next start."""
    terminal_before: list[Any] | None = None
    """The terminal's settings before the early frame; what a shell and the end of the program get back."""


class GpudashApp(App[int], inherit_bindings=False):
    """The dashboard."""

    TITLE = "gpudash"
    CSS_PATH = "gpudash.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = []
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {"fleet": FleetScreen}
    DEFAULT_MODE = "fleet"

    def __init__(self, fleet: FleetPort, options: Options | None = None, *, driver: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver)
        self.fleet = fleet
        self.options = options or Options()
        self.announcer = Announcer(self)
        self.views = Views(self.options.views_file)
        self._views_timer: Timer | None = None
        self.shown = Shown()
        self.frames = Frames(self)
        self.crash: BaseException | None = None
        """What ended the app against its will."""
        self.scene = Scene(fleet.clock.now())
        self.scene = self._scene_now()
        self._has_chosen = fleet.session.config.defaults.theme is not None
        self._leave = asyncio.Event()
        self._gathered = ChangeSet()
        self._gathering = False
        self._begin_with(themes.load(self.options.theme))
        checked = actions.keymap(fleet.session.config.keys)
        self.key_problems = checked.problems
        self._moved_keys = checked.keys
        self.set_keymap(checked.keys)
        self.set_class(self.options.ascii_only, "-ascii")

    # -- life ---------------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        """The first frame stands; now the fleet may begin to ask."""
        if self.options.terminal_before is not None and hasattr(self._driver, "attrs_before"):
            self._driver.attrs_before = self.options.terminal_before  # type: ignore[union-attr]
        # What is loaded by now stays; collections need not walk over it again.
        gc.freeze()
        gc.enable()
        # Thousands of instances come at once and stay: by default all of them are walked over again and again meanwhile.
        gc.set_threshold(20_000, 10, 20)
        self._heed_signals()
        self.call_later(self._load_screens)
        self.run_worker(self._run_fleet(), name="fleet", group="fleet", exit_on_error=True)
        self.set_timer(1.0 - self.scene.now.microsecond / 1e6 if self.scene.speed == 1 else BEAT_S, self._first_beat)
        self.app_resume_signal.subscribe(self, lambda _: self.repaint_all())
        for problem in (*self.options.problems, *self.key_problems):
            self.notify(problem, severity="warning", markup=False, timeout=12)
        if self.views.notice:
            self.notify(self.views.notice, severity="warning", markup=False, timeout=12)
        if self.options.ledger_notice:
            self.notify(self.options.ledger_notice, severity="error", markup=False, timeout=20)
        if self.options.welcome:
            from gpudash.ui.screens.welcome import WelcomeScreen

            self.push_screen(WelcomeScreen(self.options.start_hosts))

    async def _run_fleet(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(cast("contextlib.AbstractAsyncContextManager[object]", self.fleet))
            stack.callback(self.fleet.subscribe(self.changed))
            if self.options.prepare is not None:
                preparing = asyncio.create_task(self.options.prepare(self.fleet))
                stack.callback(preparing.cancel)
            await self._leave.wait()

    def _load_screens(self) -> None:
        """Import what the first frame did without, beside it, so that no first key waits for it."""
        if not self.is_headless:
            threading.Thread(target=preload, name="screens", daemon=True).start()

    def _heed_signals(self) -> None:
        """SIGTERM and SIGHUP leave like q does, so that the terminal is left clean."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and not self.is_headless:
                loop.add_signal_handler(number, self._leave_with, 128 + int(number))

    def _leave_with(self, code: int) -> None:
        self._leaving = asyncio.create_task(self._quit(code))

    def _fatal_error(self) -> None:
        # Textual would print the traceback with local variables, which may hold what must not be on a screen.
        self.crash = self._exception
        self._close_messages_no_wait()

    async def action_quit(self) -> None:
        """Let go of the fleet, a moment at most, and leave."""
        await self._quit(0)

    async def _quit(self, code: int) -> None:
        self._leave.set()
        await asyncio.to_thread(self.views.save)
        if self.options.frame_saver is not None:
            self.options.frame_saver(self)
        workers = [worker for worker in self.workers if worker.group == "fleet"]
        if workers:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.workers.wait_for_complete(workers), QUIT_S)
        self.exit(code)

    # -- beats and changes --------------------------------------------------------------------------------------

    def _first_beat(self) -> None:
        self.beat()
        self.set_interval(BEAT_S, self.beat)

    def beat(self) -> None:
        """A second has passed."""
        self.scene = self._scene_now()
        self.fleet.store.tick(self.scene.now)
        for screen in self._living():
            screen.beat()

    def changed(self, changes: ChangeSet) -> None:
        """The store changed; drawn a moment later, together with what else comes."""
        self._gathered |= changes
        if not self._gathering:
            self._gathering = True
            # The fleet may call from a context that knows no app, which a timer needs; a message does not.
            self.call_later(lambda: self.set_timer(GATHER_S, self._draw_changes))

    def _draw_changes(self) -> None:
        changes, self._gathered, self._gathering = self._gathered, ChangeSet(), False
        self.scene = self._scene_now()
        self.announcer.changed()
        for screen in self._living():
            screen.changed(changes)

    def _living(self) -> list[Living]:
        return [screen for screen in self.screen_stack if isinstance(screen, Living)] if self.is_running else []

    def _scene_now(self) -> Scene:
        clock = self.fleet.clock
        scene = Scene(clock.now(), self.options.zone, float(getattr(clock, "speed", 1.0)) or 1.0)
        # The same moment stays the same object: what was made for it need not be made again.
        return self.scene if scene == self.scene else scene

    # -- looks --------------------------------------------------------------------------------------------------

    def _begin_with(self, look: themes.ThemeFile) -> None:
        """Set the first theme before the first style sheet is parsed; set later, everything is parsed twice."""
        self.look = look
        self.painter = Painter(look, ascii_only=self.options.ascii_only)
        self.register_theme(look.textual())
        self.set_reactive(App.theme, look.name)
        self.stylesheet.set_variables(self.get_css_variables())
        self.set_class(look.dark, "-dark-mode", update=False)
        self.set_class(not look.dark, "-light-mode", update=False)
        self._refresh_truecolor_filter(self.ansi_theme)

    def use_theme(self, look: themes.ThemeFile) -> None:
        """Draw everything in that theme from now on."""
        self.register_theme(look.textual())
        self.look = look
        self.painter = Painter(look, ascii_only=self.options.ascii_only)
        self.theme = look.name

    def use_theme_named(self, name: str) -> str | None:
        """The same by name; what is wrong with it where it cannot be used."""
        try:
            self.use_theme(themes.load(name))
        except ConfigError as exc:
            return str(exc)
        return None

    def on_background_told(self, event: BackgroundTold) -> None:
        """The terminal answered after the first frame: the other default theme, unless a person or the settings chose."""
        if self.look.name in (themes.DEFAULT_DARK, themes.DEFAULT_LIGHT) and not self._has_chosen:
            self.use_theme_named(themes.DEFAULT_LIGHT if event.light else themes.DEFAULT_DARK)

    def choose_theme(self, name: str) -> None:
        """Use it now, and keep it in the settings."""
        self._has_chosen = True
        problem = self.use_theme_named(name)
        if problem is not None:
            self.say(problem, "tone-bad")
            return
        self.carry_out(self._keep_theme(name))

    async def _keep_theme(self, name: str) -> None:
        from gpudash import paths
        from gpudash.config import save_setting

        path = self.fleet.session.config.path or paths.config_file()
        try:
            await asyncio.to_thread(save_setting, path, "defaults.theme", name)
        except (GpudashError, OSError) as exc:
            self.say(f"Theme {name}, but it could not be kept: {exc}", "tone-warn")
        else:
            self.say(f"Theme {name}, kept in {path}.", "muted")

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Where Textual writes a frame: only what differs from the one before, and in one go."""
        driver = self._driver
        is_shown = self._running and not self._closed and not self._batch_count
        if driver is None or driver.is_headless or not is_shown or not isinstance(renderable, CompositorUpdate):
            super()._display(screen, renderable)
            return
        text = self.shown.bytes_for(renderable, self.console._color_system)
        if text is None:
            self.shown.forget()
            super()._display(screen, renderable)
            return
        cursor = self.screen.outer_size.clamp_offset(self.cursor_position)
        if text or cursor != self._previous_cursor_position:
            self._previous_cursor_position = cursor
            begin, end = (SYNC_START, SYNC_END) if self._sync_available else ("", "")
            frame = f"{begin}{text}{Control.move_to(*cursor).segment.text}{end}"
            size = 8192 if sys.platform == "win32" else len(frame)  # Windows consoles fail on more at once
            for start in range(0, len(frame), size):
                driver.write(frame[start : start + size])
            driver.flush()
        self.post_display_hook()

    def repaint_all(self) -> None:
        """Every line anew: a terminal that was away shows nothing of what did not change."""
        self.shown.forget()
        for widget in self.screen.walk_children(Painted):
            widget.repaint()
        self.refresh(layout=True)

    def on_resize(self, event: events.Resize) -> None:
        from gpudash.ui.screens.toosmall import TooSmall

        self.shown.forget()
        fits = event.size.width >= LEAST_SIZE[0] and event.size.height >= LEAST_SIZE[1]
        if not fits and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif fits and isinstance(self.screen, TooSmall):
            self.pop_screen()

    def remember(self, screen: str, view: Remembered) -> None:
        """Keep how a screen is filtered and ordered; written a moment later, in a thread."""
        if self.views.put(screen, view) and self._views_timer is None:
            self._views_timer = self.set_timer(SAVE_VIEWS_S, self._save_views)

    def _save_views(self) -> None:
        self._views_timer = None
        threading.Thread(target=self.views.save, name="views", daemon=True).start()

    # -- keys ---------------------------------------------------------------------------------------------------

    async def _on_key(self, event: events.Key) -> None:
        """A letter typed while a text field was opening set out for the widget before it. It is text, never a verb."""
        screen = self.screen
        if not screen.is_mounted:
            screen.call_later(self._press_again, screen, event)
            event.prevent_default()
            return
        from textual.widgets import Input

        from gpudash.ui.widgets.filter_bar import FilterBar

        field = self.focused
        if isinstance(field, Input) and event.is_printable and event.character:
            if isinstance(field.parent, FilterBar):
                field.parent.put_late(event.character)
            else:
                field.insert_text_at_cursor(event.character)
            event.prevent_default()

    def _press_again(self, screen: Screen[Any], event: events.Key) -> None:
        """A key that was faster than its screen, whose widgets stand by now."""
        if self.screen is screen:
            again = events.Key(event.key, event.character)
            again.set_sender(self)
            self.post_message(again)

    async def run_action(
        self,
        action: Any,
        default_namespace: DOMNode | None = None,
        namespaces: Any = None,
    ) -> bool:
        """A key of the table that cannot act answers why; all others go on."""
        screen = self.screen
        if isinstance(screen, Living):
            name = action if isinstance(action, str) else action[1]
            situation = screen.situation()
            if situation is not None:
                reason = actions.reason_against(name.partition("(")[0].rpartition(".")[2], situation)
                if reason is not None:
                    self.say(reason, "tone-warn")
                    return True
        return await super().run_action(action, default_namespace, namespaces)

    def key_of(self, action: actions.Action) -> str:
        """The keys that do it here, the person's own settings counted in."""
        return self._moved_keys.get(action.id, action.keys)

    def say(self, text: str, token: str = "text") -> None:
        """Answer the last key, on the footer of the topmost screen that has one."""
        for screen in reversed(self.screen_stack):
            for footer in screen.query(Footer):
                footer.say(text, token)
                return
        self.notify(text, markup=False)

    def carry_out(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a key asked for beside the screen; what is refused or fails is said."""

        async def guarded() -> None:
            try:
                await work
            except GpudashError as exc:
                self.say(str(exc), "tone-bad")

        self.run_worker(guarded(), group="verbs", exit_on_error=True)
