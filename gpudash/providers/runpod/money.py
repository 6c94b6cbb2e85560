"""The balance of an account: GraphQL alone tells it, until early 2027."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from gpudash.model.balance import Balance
from gpudash.providers.http import Api

QUERY = "query Balance { myself { clientBalance currentSpendPerHr } }"


def balance(api: Api, account: str, now: datetime) -> Balance:
    """Credit and spending an hour, as RunPod counts them.

    Raises:
        Unreachable, AuthRefused, RateLimited, ProviderError: as `Api.read`.
    """
    doing = "read the balance"
    body: dict[str, Any] = api.read("POST", "", doing, json={"query": QUERY})
    data = body.get("data")
    myself = data.get("myself") if isinstance(data, dict) else None
    usd = _number(myself.get("clientBalance")) if isinstance(myself, dict) else None
    if usd is None or not isinstance(myself, dict):
        raise api.lost(doing, "the answer has no balance")
    return Balance(account, usd, _number(myself.get("currentSpendPerHr")), now)


def _number(found: object) -> Decimal | None:
    return Decimal(found) if isinstance(found, int | Decimal) and not isinstance(found, bool) else None
