"""Every error gpudash raises on purpose, and the exit code each one means.

GpudashError                    something a person can act on; its text says what failed and what to do
├── UsageError                  the words given are wrong                               exit 2
│   └── ConfigError             a file of settings is wrong; names the field            exit 2
├── NotFound                    no such instance, or the name fits several              exit 3
├── Refused                     we will not: read-only, hard deadline, price cap …      exit 4
│   └── Unsupported             this cloud has no such verb                             exit 4
├── ProviderError               the cloud answered no; its own words are kept           exit 1
│   ├── NoCapacity              nothing of that type is free there                      exit 1
│   ├── RateLimited             asked too often; carries when to try again              exit 5
│   ├── AuthRefused             credentials missing, wrong or expired                   exit 5
│   └── Unreachable             no answer, or one that is no answer                     exit 5
│       └── Ambiguous           a write may have happened; look before asking again     exit 6
├── HostError                   something on one machine                                exit 1
│   ├── LinkDown                no SSH connection                                       exit 1
│   ├── NeedsUser               host key or key pass phrase: a person must decide       exit 4
│   ├── NoService               nothing listens on that port of the host                exit 1
│   ├── NoForwards              its SSH server forwards nothing                         exit 1
│   ├── PortBusy                the local port of a forward is taken                    exit 1
│   ├── PushFailed              the daemon did not come up; what ran before runs again  exit 1
│   └── StatusdError            the daemon refused or did not answer                    exit 1
└── LedgerError                 the ledger cannot be read or written                    exit 1
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """What the process says to scripts when it ends."""

    OK = 0
    """Done, and proved."""
    FAILED = 1
    """Failed; lack of capacity too."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    NOT_FOUND = 3
    """No such instance, or the name is ambiguous."""
    REFUSED = 4
    """Refused: read-only, hard deadline, price cap, no confirmation, a verb that cloud does not have."""
    UNREACHABLE = 5
    """A provider cannot be reached, or refused the credentials."""
    UNPROVED = 6
    """Accepted, but not proved in time."""


class GpudashError(Exception):
    """Base of all. `hint` is the next step a person can take; it is printed after the text."""

    exit_code = ExitCode.FAILED

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.text} {self.hint}" if self.hint else self.text


class UsageError(GpudashError):
    """The words given on the command line or in a dialog are wrong."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A settings file is wrong. The text names the file and the field and shows an example."""


class NotFound(GpudashError):
    """No instance of that name or id is known, or several are."""

    exit_code = ExitCode.NOT_FOUND


class Refused(GpudashError):
    """gpudash itself declines: read-only, past the hard deadline, above the price cap, not confirmed."""

    exit_code = ExitCode.REFUSED


class Unsupported(Refused):
    """The verb does not exist at this cloud; the text says what does."""


class ProviderError(GpudashError):
    """A cloud answered with a definite no. The text carries the cloud's own words."""

    code: str = ""
    """The cloud's own stable word for it, where it has one; else the HTTP status as text."""
    status: int | None = None
    """HTTP status of the answer; None where there was none."""
    facts: Mapping[str, object] = MappingProxyType({})
    """What else the answer told the adapter; for its own eyes."""


class NoCapacity(ProviderError):
    """The cloud has none of that type free there now; nothing was launched."""


class RateLimited(ProviderError):
    """Asked too often. `retry_after_s` is the cloud's own wish, or None where it named none."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, text: str, *, retry_after_s: float | None = None, hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.retry_after_s = retry_after_s


class AuthRefused(ProviderError):
    """Credentials are missing, wrong or expired."""

    exit_code = ExitCode.UNREACHABLE


class Unreachable(ProviderError):
    """No answer in time, a dropped connection, a 5xx to a read, or an answer that cannot be read."""

    exit_code = ExitCode.UNREACHABLE


class Ambiguous(Unreachable):
    """A write was sent and no answer came: it may or may not have happened. Reconcile before any retry."""

    exit_code = ExitCode.UNPROVED


class HostError(GpudashError):
    """Something went wrong on, or on the way to, one machine."""


class LinkDown(HostError):
    """There is no SSH connection to the instance now."""


class NeedsUser(HostError):
    """A person has to decide: unknown or changed host key, refused key, missing pass phrase."""

    exit_code = ExitCode.REFUSED


class NoService(HostError):
    """The link is fine; nothing on the host listens on the port that was wanted."""


class NoForwards(HostError):
    """The SSH server runs commands but forbids forwards, as a cloud's proxy may."""


class PortBusy(HostError):
    """The local port wanted for a forward is in use."""


class PushFailed(HostError):
    """The pushed daemon did not become healthy; what ran before was put back."""


class StatusdError(HostError):
    """The daemon on the host refused the request or did not answer."""


class LedgerError(GpudashError):
    """The ledger on this machine cannot be read or written."""
