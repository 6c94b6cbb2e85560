"""One section of one settings file: reads its fields, and words what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any

from gpudash.config.kinds import ORIGIN, kind_of, shown
from gpudash.config.settings import CREDENTIALS, SANDBOX, Account, settings_of
from gpudash.errors import ConfigError

_SECRET = re.compile(
    r"(?i)(api[_-]?)?(key|token|secret)|(aws_)?(secret_access_key|access_key_id|session_token)|password|passwd|"
    r"(secret|access|auth)[_-]?(key|token)"
)


@dataclass(frozen=True, slots=True)
class Section:
    """A place in a file, as errors name it."""

    path: Path
    name: str
    """Empty for the file as a whole."""

    def read(self, cls: type, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `cls` that the section sets, each read by its kind."""
        settings = settings_of(cls)
        self.refuse_secrets(body)
        for name in body:
            if name not in settings:
                raise self.unknown(f"{name}: no such setting", name, settings)
        return {name: self._value(name, settings[name], value) for name, value in body.items()}

    def refuse_secrets(self, body: Mapping[str, Any]) -> None:
        """A key in the file is refused whatever it is called, and its value never shown."""
        name = next((name for name in body if _SECRET.fullmatch(name)), None)
        if name is None:
            return
        hint = 'Keep it elsewhere and say where: api_key_env = "LAMBDA_API_KEY"'
        if self.path.exists() and self.path.stat().st_mode & 0o077:
            hint += f"\nOthers can read this file: replace that key at the cloud, and chmod 600 {self.path}"
        raise ConfigError(f"{self._where} {name}: keys do not belong in this file.", hint=hint)

    def check_meaning(self, found: Mapping[str, Any], provider: str) -> None:
        """Refuse settings of an account that mean nothing at that cloud, rather than ignore them."""
        for name in found:
            only = settings_of(Account)[name].metadata["only"]
            if only not in (None, provider):
                raise self.wrong(name, f"it has a meaning for {only} only, and this is {provider}")
            if name in CREDENTIALS and provider == "aws":
                raise self.wrong(name, "aws has profiles instead", 'profile = "work"')
            if name in {*CREDENTIALS, "base_url"} and provider == SANDBOX:
                raise self.wrong(name, "the sandbox needs none")

    def unknown(self, what: str, word: str, known: Collection[str]) -> ConfigError:
        """An error for a word that is none of those known, with the one that was probably meant."""
        from difflib import get_close_matches

        close = get_close_matches(word.casefold(), known, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(sorted(known))}."
        return ConfigError(f"{self._where} {what}.", hint=hint)

    def wrong(self, what: str, why: str, example: str | None = None, *, hint: str | None = None) -> ConfigError:
        """An error for a value that cannot be, with an example of one that can."""
        return ConfigError(f"{self._where} {what}: {why}.", hint=f"Write it like: {example}" if example else hint)

    @property
    def _where(self) -> str:
        return f"{self.path}: [{self.name}]" if self.name else f"{self.path}:"

    def _value(self, name: str, item: Field[Any], value: Any) -> Any:
        kind = kind_of(item)
        try:
            return kind.read(value)
        except ValueError:
            may_be_secret = name in CREDENTIALS or kind is ORIGIN
            what = name if may_be_secret else f"{name} = {shown(value)}"
            raise self.wrong(what, f"expected {kind.wanted}", f"{name} = {item.metadata['example']}") from None
