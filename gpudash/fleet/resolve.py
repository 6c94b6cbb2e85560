"""What a person calls an instance: ``account:id``, an unambiguous name, or an unambiguous prefix of the id."""

from __future__ import annotations

from collections.abc import Collection

from gpudash.errors import NotFound
from gpudash.fleet.record import Record

SHOWN = 6
"""Candidates named in an error."""


def resolve(records: Collection[Record], text: str) -> Record:
    """The one record meant. An exact id or name wins over a prefix.

    Raises:
        NotFound: none fits, or several do; the text lists them.
    """
    account, _, rest = text.rpartition(":")
    pool = [record for record in records if not account or record.key.account == account]
    for fits in (
        [record for record in pool if record.key.id == rest],
        [record for record in records if record.instance.name == text],
        [record for record in pool if account and record.instance.name == rest],
        [record for record in pool if rest and record.key.id.startswith(rest)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise NotFound(f"{text!r} fits several instances: {_listed(fits)}.", hint="Use account:id.")
    raise NotFound(f"There is no instance {text!r}.", hint=_hint(records, text))


def _hint(records: Collection[Record], text: str) -> str:
    wanted = text.casefold()
    near = [r for r in records if wanted in r.instance.name.casefold() or wanted in r.key.id.casefold()]
    if near:
        return f"Did you mean {_listed(near)}?"
    return f"There is: {_listed(list(records))}." if records else "There are no instances at all."


def _listed(records: Collection[Record]) -> str:
    ordered = sorted(records, key=lambda record: (record.instance.name, record.key))
    words = [f"{record.key} ({record.instance.name})" for record in ordered[:SHOWN]]
    more = len(ordered) - SHOWN
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")
