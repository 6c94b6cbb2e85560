"""Settings: ``config.toml`` read into frozen values, or an error that names the file, the field and an example.

| part of the file    | becomes                | read by                          |
|---------------------|------------------------|----------------------------------|
| ``[defaults]``      | `Defaults`             | launch, lanes, screens           |
| ``[accounts.NAME]`` | `Account`, one a name  | the registry, to make providers  |
| ``[keys]``          | a mapping, as it is    | the screen's key table           |

Nothing here imports an SDK; ``tomlkit`` is loaded only to write. Keys of clouds never stand in the file: an account
says where its key is kept, and `credential` fetches it when a provider is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpudash.config.reading import check_theme, load
from gpudash.config.settings import (
    CREDENTIALS,
    PROVIDERS,
    SANDBOX,
    Account,
    Config,
    Defaults,
    SettingRow,
    as_written,
    readme_table,
    settings_table,
)

if TYPE_CHECKING:
    from gpudash.config.credentials import FoundCredential

__all__ = [
    "CREDENTIALS",
    "PROVIDERS",
    "SANDBOX",
    "Account",
    "Config",
    "Defaults",
    "SettingRow",
    "all_credentials",
    "as_written",
    "check_theme",
    "credential",
    "found_credentials",
    "load",
    "readme_table",
    "save_account",
    "save_setting",
    "save_settings",
    "settings_table",
]


def credential(account: Account) -> str:
    """The key of an account, fetched now from where the account says it is. Never logged, never kept.

    Raises:
        AuthRefused: it is not there or cannot be read; the text says where it was looked for.
    """
    from gpudash.config.credentials import resolve

    return resolve(account)


def found_credentials(adapters: Collection[str] = ()) -> list[FoundCredential]:
    """Credentials of clouds in their vendors' usual places, for the welcome screen. Shows where, never what.

    Args:
        adapters: clouds this version can talk to; only theirs are `usable`.
    """
    from gpudash.config.credentials import find

    return find(adapters)


def vast_session(account: Account) -> str | None:
    """The key of a two-factor session at Vast, where it goes before the account's own; else None."""
    from gpudash.config import credentials

    return credentials.vast_session(account)


def all_credentials(adapters: Collection[str] = ()) -> list[FoundCredential]:
    """As `found_credentials`, and not only the first of each cloud: every key, with an account name of its own."""
    from gpudash.config.credentials import find_all

    return find_all(adapters)


def save_settings(path: Path, changes: Mapping[str, str | bool | int | float | list[str] | None]) -> None:
    """Set several fields at once, or none of them; see `save_setting`."""
    from gpudash.config.writing import write_all

    write_all(path, {tuple(name.split(".")): value for name, value in changes.items()})


def save_account(path: Path, account: Account) -> None:
    """Write an account that the file does not have yet as a section of its own.

    Raises:
        ConfigError: the file as it would become is wrong, or it cannot be read or written.
    """
    from gpudash.config.writing import write_all

    write_all(path, {("accounts", account.name, name): value for name, value in as_written(account).items()})


def save_setting(path: Path, name: str, value: str | bool | int | float | list[str] | None) -> None:
    """Set one field (``defaults.theme``) and leave everything else, comments too, as it is. None removes it.

    Raises:
        ConfigError: the file as it would become is wrong, or it cannot be read or written.
    """
    from gpudash.config.writing import write

    write(path, name, value)
