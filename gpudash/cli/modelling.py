"""`models`: the registry that `fit` counts with; shipped entries, and the person's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gpudash.cli import words
from gpudash.cli.verb import READ_ONLY, Run, Verb, pass_run
from gpudash.errors import NotFound, Refused, UsageError
from gpudash.model.fit import Model, Precision


class Listing(click.Group):
    """`models` alone lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h")):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Listing)
def models() -> None:
    """Models that `fit` knows. Without a verb: list them."""


models.params.append(READ_ONLY)


@models.command(cls=Verb)
@pass_run
def ls(run: Run) -> int:
    """Every model, smallest first."""
    from gpudash.config import models as registry

    found = sorted(registry.load().values(), key=lambda item: (item.parameters, item.id))
    if run.out.json:
        run.out.document({"models": [_body(item) for item in found]})
        return 0
    rows = [
        (item.id, f"{item.parameters / 1e9:.1f}B", item.precision.value, _context(item.context),
         "yours" if item.own else "shipped", item.name)
        for item in found
    ]  # fmt: skip
    for line in words.table(("ID", "SIZE", "AS", "CONTEXT", "FROM", "NAME"), rows, right=frozenset({1, 3})):
        run.out.line(line)
    return 0


@models.command(cls=Verb)
@click.argument("model")
@pass_run
def show(run: Run, model: str) -> int:
    """Every figure of one model, with its source."""
    from gpudash.config import models as registry

    found = registry.find(model, registry.load())
    if run.out.json:
        run.out.document(_body(found))
        return 0
    for field, value in registry.facts_of(found).items():
        run.out.line(f"{field:<22}{value:,}" if isinstance(value, int) else f"{field:<22}{value}")
    return 0


@models.command(cls=Verb)
@click.argument("model")
@click.option("--parameters", metavar="N", required=True, help="All weights: 8.03b, 671b, 8030261248.")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its published config.json."
)
@click.option("--name", help="Its name at its publisher's.  [default: MODEL]")
@click.option("--heads", type=click.IntRange(1), metavar="N", help="Attention heads.")
@click.option("--layers", type=click.IntRange(0), metavar="N", help="Layers that keep keys and values.")
@click.option("--kv-heads", type=click.IntRange(1), metavar="N", help="Heads of keys and values.")
@click.option("--head-dim", type=click.IntRange(1), metavar="N", help="Values of one head.")
@click.option("--context", type=click.IntRange(1), metavar="N", help="Longest context in tokens.")
@click.option("--embedding-parameters", metavar="N", default="0", help="Of all, those in embedding and output layers.")
@click.option(
    "--precision",
    type=click.Choice([item.value for item in Precision]),
    default="bf16",
    show_default=True,
    help="As published.",
)
@click.option("--source", help="Where the figures are from.  [default: the file, or 'given by hand']")
@pass_run
def add(
    run: Run,
    /,
    model: str,
    parameters: str,
    config: Path | None,
    name: str | None,
    embedding_parameters: str,
    precision: str,
    source: str | None,
    **figures: int | None,
) -> int:
    """Add a model of your own, from its config.json or from figures; one of the same id is replaced."""
    from gpudash.clock import SystemClock
    from gpudash.config import models as registry

    _may_change(run, "models add")
    facts: dict[str, Any] = _from_file(config) if config else {}
    facts |= {field: value for field, value in figures.items() if value is not None}
    missing = [f"--{field.replace('_', '-')}" for field in ("heads", "layers", "context") if field not in facts]
    if missing:
        raise UsageError(
            f"models add needs {', '.join(missing)}.", hint="Or give its published file: --config config.json"
        )
    facts |= {
        "name": name or model,
        "parameters": _count(parameters, "parameters"),
        "embedding_parameters": _count(embedding_parameters, "embedding-parameters"),
        "precision": precision,
        "source": source or (config.name if config else "given by hand"),
        "as_of": SystemClock().now().date(),
    }
    entry = registry.model(registry.checked_id(model), facts, "models add", own=True)
    registry.add(entry)
    return _done(run, "add", entry, f"{entry.id} is in {registry.own_file()}.")


@models.command(cls=Verb)
@click.argument("model")
@pass_run
def remove(run: Run, model: str) -> int:
    """Forget a model of your own."""
    from gpudash.config import models as registry

    _may_change(run, "models remove")
    known = registry.load()
    entry = known.get(model)
    if entry is None or not entry.own:
        own = ", ".join(item.id for item in known.values() if item.own) or "none yet"
        raise NotFound(f"{model!r} is no model of yours.", hint=f"Yours: {own}.")
    registry.remove(model)
    return _done(run, "remove", entry, f"{model} is forgotten.")


def _may_change(run: Run, what: str) -> None:
    reason = run.forbids()
    if reason:
        raise Refused(f"{what}: {reason}.")


def _done(run: Run, action: str, entry: Model, detail: str) -> int:
    if run.out.json:
        run.out.document({"action": f"models {action}", "ok": True, "detail": detail, "model": _body(entry)})
    else:
        run.out.line(detail)
    return 0


def _from_file(path: Path) -> dict[str, Any]:
    from gpudash.config import models as registry

    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} is no JSON: {exc}.", hint="Take config.json from the model's own page.") from exc
    if not isinstance(body, dict):
        raise UsageError(f"{path} holds no object.", hint="Take config.json from the model's own page.")
    return registry.from_config(body, str(path))


def _count(text: str, field: str) -> int:
    from decimal import Decimal, InvalidOperation

    sizes = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
    body = text.strip().replace("_", "").replace(",", "").lower()
    size = sizes.get(body[-1:], 1)
    try:
        count = int(Decimal(body[:-1] if size > 1 else body) * size)
    except (InvalidOperation, ValueError, OverflowError):
        count = -1
    if count < 0:
        raise UsageError(f"{field}: {text!r} is no number.", hint="Write 8.03b, 671b or 8030261248.")
    return count


def _context(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def _body(item: Model) -> dict[str, Any]:
    from gpudash.config import models as registry

    facts = {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in registry.facts_of(item).items()}
    return {"id": item.id, "own": item.own, **facts}
