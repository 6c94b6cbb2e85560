"""Where gpudash keeps things: settings in the platform's config folder, everything else in the state folder.

``XDG_CONFIG_HOME`` and ``XDG_STATE_HOME`` move them on every platform, macOS included. Functions and not constants,
so that a test or a second sandbox can point elsewhere by environment alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpudash.errors import GpudashError

APP = "gpudash"


def config_dir() -> Path:
    """Folder of ``config.toml`` and ``themes/``. Not created here."""
    return _base("XDG_CONFIG_HOME", "user_config_path")


def config_file() -> Path:
    """The settings file; it need not exist."""
    return config_dir() / "config.toml"


def state_dir() -> Path:
    """Folder of the ledger, the sandbox, tunnels, host keys and logs; made on first use, for the owner only.

    Raises:
        GpudashError: it cannot be made.
    """
    path = _base("XDG_STATE_HOME", "user_state_path")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise GpudashError(
            f"The state folder {path} cannot be made: {exc.strerror or exc}.",
            hint="Point XDG_STATE_HOME at a folder that you can write.",
        ) from exc
    return path


def ledger_file() -> Path:
    """The SQLite file of intents, events, intervals and snapshots."""
    return state_dir() / "ledger.db"


def sandbox_dir() -> Path:
    """Everything of the sandbox: hosts, keys, clock and fault switches."""
    return state_dir() / "sandbox"


def known_hosts_file() -> Path:
    """Our own host keys, by instance id; the user's ``~/.ssh/known_hosts`` is never written."""
    return state_dir() / "known_hosts"


def tunnels_dir() -> Path:
    """One descriptor file for each process that holds forwards."""
    return state_dir() / "tunnels"


def frames_dir() -> Path:
    """The last painted frame by terminal size, shown while the program loads."""
    return state_dir() / "frames"


def log_file() -> Path:
    """The program's own log."""
    return state_dir() / "gpudash.log"


def _base(variable: str, fallback: str) -> Path:
    moved = os.environ.get(variable)
    if moved and Path(moved).is_absolute():  # a relative one is to be ignored, says the XDG specification
        return Path(moved) / APP
    import platformdirs

    return Path(getattr(platformdirs, fallback)(APP, appauthor=False))
