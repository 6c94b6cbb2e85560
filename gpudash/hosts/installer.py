"""Runs on the host: puts one build of statusd in place and starts it, or puts back what ran before.

`push` feeds this very text to the host's Python on stdin, followed by a call of `main`; it imports nothing of ours and
keeps to the syntax of Python 3.8. Being one program on the host it needs no SFTP and no tools there, takes one round
trip, and goes on to a sound end when the connection, or the one who pushed, dies in the middle: a host is never left
between two builds.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

PATIENCE_S = 20.0  # a build that does not answer by then is broken
UNITS = "/etc/systemd/system/"
UNIT = "gpudash-statusd.service"
ONSTART, POST_START = "/root/onstart.sh", "/post_start.sh"
MARK = "# gpudash: statusd comes back"


class Failed(Exception):
    """A step went wrong. The first argument is a sentence."""


def main(order: Json) -> None:
    """Carry out `order` and print one line of JSON that tells how it went."""
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    report: Json = {"ok": False, "error": "", "touched": False, "restored": False}
    try:
        home = order["home"]
        os.makedirs(os.path.join(home, "releases"), mode=0o700, exist_ok=True)
        os.chmod(home, 0o700)
        with open(os.path.join(home, "push.lock"), "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Failed("another push to this host is under way") from None
            Install(order, report).run()
    except (Failed, OSError, subprocess.SubprocessError) as exc:
        report["error"] = report["error"] or str(exc)
    sys.stdout.write("\n" + json.dumps(report) + "\n")


class Install:
    """One push, from files to a daemon that answers."""

    def __init__(self, order: Json, report: Json) -> None:
        self.order, self.report, self.home = order, report, order["home"]
        self.release = self.path("releases", order["release"])

    def path(self, *names: str) -> str:
        """A path below the home of statusd."""
        return os.path.join(self.home, *names)

    def run(self) -> None:
        """All of it."""
        if self.order["verb"] == "back":
            self.report["touched"] = True
            self.put_back(self.order["before"], self.order["config_before"], self.order["key_before"])
            self.report["ok"] = True
            return
        before = self.current()
        config_before = read(self.path("config.json"))
        key_before = read(self.path("account.key"))
        self.report.update(before=before, config_before=config_before, key_before=key_before)
        is_new = self.place_release()
        try:
            self.check()
        except Failed:
            if is_new:
                os.unlink(self.release)
            raise
        try:
            self.place_key()
            if not os.path.exists(self.path("token")):
                write(self.path("token"), self.order["token"].encode() + b"\n")
            if self.order["verb"] == "config":
                write(self.path("config.json"), self.order["config"].encode())
        except OSError:
            self.put_key(key_before)
            raise
        if self.order["verb"] != "config":
            self.swap(before, config_before, key_before)
            self.prune(before)
        self.report["comes_back"] = self.ensure_return()
        self.report["ok"] = True

    def ensure_return(self) -> str | None:
        """What starts statusd again after a restart of this host; None where a push has to."""
        if self.order["unit"] is not None:
            return "systemd"
        for hook in self.start_hooks():
            try:
                self.write_hook(hook)
            except OSError:
                continue
            return hook
        return None

    def start_hooks(self) -> list[str]:
        """Scripts that the images of some clouds run at every start of the container, where they are there.

        Vast keeps a person's own at /root/onstart.sh; the start script of many RunPod images runs /post_start.sh.
        """
        found = [ONSTART] if os.path.exists(self.order["root"] + ONSTART) else []
        return found + ([POST_START] if POST_START in (read(self.order["root"] + "/start.sh") or "") else [])

    def write_hook(self, hook: str) -> None:
        """Put our line first, below the `#!`: what follows may never return."""
        path = self.order["root"] + hook
        present = (read(path) or "#!/bin/bash").rstrip("\n") + "\n"
        argv = f"{sys.executable} -I -S {self.path('current')} --home {self.home} --daemonize"
        line = f"{argv} </dev/null >/dev/null 2>&1 || true  {MARK}\n"
        lines = [text for text in present.splitlines(keepends=True) if MARK not in text]
        place = 1 if lines and lines[0].startswith("#!") else 0
        wanted = "".join([*lines[:place], line, *lines[place:]])
        if wanted != present or not os.access(path, os.X_OK):
            mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o755
            write(path, wanted.encode(), mode | 0o100)

    def current(self) -> str | None:
        """The release that `current` names, if it is there."""
        try:
            name = os.path.basename(os.readlink(self.path("current")))
        except OSError:
            return None
        return name if os.path.exists(self.path("releases", name)) else None

    def place_release(self) -> bool:
        """Write the release, unless it is there, and prove what stands on the disk."""
        is_new = self.order["source"] is not None
        if is_new:
            write(self.release, zlib.decompress(base64.b64decode(self.order["source"])))
        with open(self.release, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != self.order["sha256"]:
            os.unlink(self.release)
            raise Failed("the copy on the host differs from what was sent; is its disk full?")
        return is_new

    def check(self) -> None:
        """Let the new build look at the new configuration, in a folder of its own, before anything is touched."""
        stage = tempfile.mkdtemp(prefix="check-", dir=self.home)
        try:
            write(os.path.join(stage, "config.json"), self.order["config"].encode())
            self.statusd(self.release, "--check", home=stage)
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def place_key(self) -> None:
        """The account's key where a person agreed to it; without that, none stays behind."""
        key = self.order["account_key"]
        self.put_key(None if key is None else key + "\n")

    def put_key(self, text: str | None) -> None:
        """Let the file of the account's key hold this text; None for no such file."""
        if text is not None:
            write(self.path("account.key"), text.encode())
        elif os.path.exists(self.path("account.key")):
            os.unlink(self.path("account.key"))

    def swap(self, before: str | None, config_before: str | None, key_before: str | None) -> None:
        """Stop the old, start the new; on any trouble the old again."""
        self.stop(self.path("releases", before) if before else self.release)
        self.report["touched"] = True
        self.keep_state()
        try:
            write(self.path("config.json"), self.order["config"].encode())
            self.point(self.order["release"])
            self.start(self.order["build"])
        except (Failed, OSError, subprocess.SubprocessError) as exc:
            self.report["error"] = str(exc)
            self.put_back(before, config_before, key_before)
            raise Failed(str(exc)) from None

    def keep_state(self) -> None:
        """What the old build knew. A build that is taken back may have moved deadlines, or spoilt them."""
        state = read(self.path("state.json"))
        if state is not None:
            write(self.path("state.before"), state.encode())
        elif os.path.exists(self.path("state.before")):
            os.unlink(self.path("state.before"))

    def put_back(self, before: str | None, config_before: str | None, key_before: str | None) -> None:
        """What ran before runs again, with the key it had; where nothing ran, nothing does, and no key stays."""
        self.stop(self.release)
        self.put_key(key_before)
        if os.path.exists(self.path("state.before")):
            os.replace(self.path("state.before"), self.path("state.json"))
        if config_before is not None:
            write(self.path("config.json"), config_before.encode())
        if before is None:
            for name in ("current", "config.json"):
                if os.path.lexists(self.path(name)):
                    os.unlink(self.path(name))
        else:
            self.point(before)
            self.start(None)
        self.report["restored"] = True

    def point(self, release: str) -> None:
        """Let `current` name a release; there is no moment without a link."""
        draft = self.path("current.new")
        if os.path.lexists(draft):
            os.unlink(draft)
        os.symlink(os.path.join("releases", release), draft)
        os.replace(draft, self.path("current"))

    def start(self, build: str | None) -> None:
        """Start what `current` names and wait until it says that it serves."""
        if self.order["unit"] is None:
            self.statusd(self.path("current"), "--daemonize")
        else:
            self.start_unit()
        run = self.await_run(build)
        self.report.update(port=run["port"], pid=run["pid"])

    def start_unit(self) -> None:
        """By systemd, which starts it again after a reboot or a crash."""
        path = self.order["root"] + UNITS + UNIT
        if read(path) != self.order["unit"]:
            draft = self.path(UNIT)
            write(draft, self.order["unit"].encode())
            try:
                self.call([*self.order["sudo"], "install", "-m", "644", draft, path])
            finally:
                os.unlink(draft)
            self.call([*self.order["sudo"], "systemctl", "daemon-reload"])
            self.call([*self.order["sudo"], "systemctl", "enable", UNIT])
        self.call([*self.order["sudo"], "systemctl", "restart", UNIT])

    def stop(self, script: str) -> None:
        """Stop what runs, however it was started, and make sure."""
        if self.order["unit"] is not None and os.path.exists(self.order["root"] + UNITS + UNIT):
            self.call([*self.order["sudo"], "systemctl", "stop", UNIT])
        if self.is_running():
            self.statusd(script, "--stop", patience=20.0)

    def await_run(self, build: str | None) -> Json:
        """What run.json says once it is there; ends early when the process is gone."""
        until, missed = time.monotonic() + PATIENCE_S, 0
        while time.monotonic() < until and missed < 3:
            is_running = self.is_running()
            run: Json = json.loads(read(self.path("run.json")) or "{}")
            # A killed daemon leaves its run.json behind; only the one that holds the lock wrote this.
            if is_running and run.get("port") and str(run.get("pid")) == (read(self.path("lock")) or "").strip():
                if build not in (None, run.get("build")):
                    raise Failed(f"it says that it is build {run.get('build')}, not {build}")
                return run
            missed += not is_running and self.has_ended()
            threading.Event().wait(0.05)
        if missed:
            raise Failed(f"it ended right after its start{self.last_words()}")
        raise Failed(f"it did not say within {PATIENCE_S:.0f} s that it serves{self.last_words()}")

    def has_ended(self) -> bool:
        """Whether nobody tries to run it any more, or only again and again."""
        if self.order["unit"] is None:
            return True
        asked = subprocess.run(["systemctl", "is-active", UNIT], stdout=subprocess.DEVNULL, check=False)
        return asked.returncode != 0

    def is_running(self) -> bool:
        """Whether a statusd of this home lives: it holds its lock for life. Looking keeps nobody from starting one."""
        try:
            with open(self.path("lock")) as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def last_words(self) -> str:
        """The end of its log, as a tail of a sentence."""
        lines = (read(self.path("statusd.log")) or "").strip().splitlines()
        return f"; its log ends: {lines[-1][-200:]}" if lines else ""

    def statusd(self, script: str, verb: str, home: str | None = None, patience: float = PATIENCE_S) -> None:
        """Run one verb of a statusd to its end."""
        self.call([sys.executable, "-I", "-S", script, "--home", home or self.home, verb], patience)

    def call(self, argv: list[str], patience: float = PATIENCE_S) -> None:
        """Run a program. Its output goes to a file: a daemon that keeps a pipe open would be waited for for ever."""
        with tempfile.TemporaryFile() as output:
            name = os.path.basename(argv[3] if argv[0] == sys.executable else argv[0])
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=patience, check=False
                )
            except subprocess.TimeoutExpired:
                raise Failed(f"{name} {argv[-1]} did not end within {patience:.0f} s") from None
            if done.returncode != 0:
                output.seek(0)
                words = output.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
                raise Failed(f"{name} {argv[-1]} failed ({done.returncode}): {words[-1][-300:]}")

    def prune(self, before: str | None) -> None:
        """Keep this release and the one before."""
        for name in os.listdir(self.path("releases")):
            if name not in (self.order["release"], before):
                os.unlink(self.path("releases", name))


def read(path: str) -> str | None:
    """The text of a file, None without one."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole. Nobody else can read it at any moment: it is made exclusively and closed first."""
    draft = f"{path}.new-{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
