"""The registry of open models: a table shipped with gpudash, and the person's own beside ``config.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from gpudash import paths
from gpudash.errors import ConfigError, NotFound
from gpudash.model.fit import Model, Precision

FILE = "models.toml"
REQUIRED = ("name", "parameters", "heads", "layers", "context", "precision", "source")
COUNTS = (
    "parameters", "embedding_parameters", "expert_parameters", "heads", "layers", "kv_heads", "head_dim", "latent_dim",
    "window", "window_layers", "state_bytes", "context",
)  # fmt: skip
EXAMPLE = {
    "name": '"org/My-Model-8B"',
    "precision": '"bf16"',
    "source": '"its config.json"',
    "as_of": "2026-01-31",
}


def own_file() -> Path:
    """Where the person's own models stand."""
    return paths.config_dir() / FILE


def load() -> dict[str, Model]:
    """All models by id; the person's own replace shipped ones of the same id.

    Raises:
        ConfigError: the person's file is wrong; names the model and the field.
    """
    shipped = tomllib.loads(resources.files("gpudash.config").joinpath("data", FILE).read_text(encoding="utf-8"))
    found = {key: model(key, body, FILE) for key, body in shipped.items()}
    return found | {key: model(key, body, str(own_file()), own=True) for key, body in _own().items()}


def find(wanted: str, models: Mapping[str, Model]) -> Model:
    """A model by its id or its publisher's name, in whole or a part that only one has; case does not matter.

    Raises:
        NotFound: none, or several; names those that come near.
    """
    word = wanted.strip().casefold()
    for exact in models.values():
        if word in (exact.id.casefold(), exact.name.casefold()):
            return exact
    near = [item for item in models.values() if word and (word in item.id.casefold() or word in item.name.casefold())]
    if len(near) == 1:
        return near[0]
    if near:
        raise NotFound(f"{wanted!r} fits several models.", hint="One of: " + ", ".join(m.id for m in near) + ".")
    from difflib import get_close_matches

    close = get_close_matches(word, list(models), n=3)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise NotFound(
        f"No model {wanted!r} is known.", hint=f"{hint}`gpudash models` lists them, `models add` takes yours."
    )


def model(key: str, body: Any, where: str, *, own: bool = False) -> Model:
    """One entry of a table.

    Raises:
        ConfigError: a field is missing, unknown or no such value.
    """
    if not isinstance(body, dict):
        raise ConfigError(f"{where}: {key} is no table of fields.", hint=f"Write it as [{key}] with a line a field.")
    for field in REQUIRED:
        if field not in body:
            raise _wrong(where, key, field, "is missing")
    for field, value in body.items():
        if field in COUNTS:
            if value.__class__ is not int or value < (0 if field.endswith(("parameters", "layers", "bytes")) else 1):
                raise _wrong(where, key, field, "wants a whole number")
        elif field in ("name", "source"):
            if not isinstance(value, str) or not value:
                raise _wrong(where, key, field, "wants a text")
        elif field == "as_of":
            if value.__class__ is not date:
                raise _wrong(where, key, field, "wants a date")
        elif field != "precision":
            raise ConfigError(
                f"{where}: {key} has no field {field!r}.", hint="Fields: " + ", ".join((*COUNTS, *EXAMPLE))
            )
    if body["precision"] not in list(Precision):
        raise _wrong(where, key, "precision", "is one of " + ", ".join(Precision))
    if body.get("latent_dim") is None and not (body.get("kv_heads") and body.get("head_dim")):
        raise _wrong(where, key, "kv_heads", "and head_dim are missing (or latent_dim)")
    if (
        body["parameters"] < 1
        or body.get("embedding_parameters", 0) + body.get("expert_parameters", 0) > body["parameters"]
    ):
        raise _wrong(where, key, "parameters", "is less than its parts")
    facts = {"kv_heads": None, "head_dim": None, **body, "precision": Precision(body["precision"])}
    return Model(id=key, own=own, **facts)


def add(entry: Model) -> None:
    """Write one of the person's own; another of the same id is replaced, comments stay.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    import tomlkit

    document = _document()
    table = tomlkit.table()
    for field, value in facts_of(entry).items():
        table[field] = value
    document[entry.id] = table
    _write(tomlkit.dumps(document))


def remove(key: str) -> bool:
    """Forget one of the person's own. False where there is none of that id."""
    import tomlkit

    document = _document()
    if key not in document:
        return False
    del document[key]
    _write(tomlkit.dumps(document))
    return True


def facts_of(entry: Model) -> dict[str, Any]:
    """A model as the fields of its table; what says nothing is left out."""
    facts: dict[str, Any] = {}
    for field in ("name", *COUNTS, "precision", "source", "as_of"):
        value = getattr(entry, field)
        if value not in (None, 0):
            facts[field] = value.value if isinstance(value, Precision) else value
    return facts


def from_config(body: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a published ``config.json`` says of heads, layers and context, as fields of a table.

    Raises:
        ConfigError: it lacks a field, or is of a sort whose memory does not follow from these fields.
    """
    text = body.get("text_config")
    inner = text if isinstance(text, dict) else body

    def whole(*names: str) -> int | None:
        value = next((inner[name] for name in names if inner.get(name) is not None), None)
        return value if value.__class__ is int else None

    heads, layers = whole("num_attention_heads", "n_head"), whole("num_hidden_layers", "n_layer")
    context = whole("max_position_embeddings", "n_positions")
    for value, name in ((heads, "num_attention_heads"), (layers, "num_hidden_layers"),
                        (context, "max_position_embeddings")):  # fmt: skip
        if value is None:
            raise ConfigError(f"{where} has no {name}.", hint="Give the figures as options instead; see --help.")
    sorts = inner.get("layer_types")
    if isinstance(sorts, list) and any(sort not in ("full_attention", "sliding_attention") for sort in sorts):
        raise ConfigError(
            f"{where} has layers of its own kind.", hint="Give the figures as options instead; see --help."
        )
    assert heads is not None
    facts: dict[str, Any] = {"heads": heads, "layers": layers, "context": context}
    if isinstance(sorts, list) and whole("sliding_window"):
        sliding = sum(sort == "sliding_attention" for sort in sorts)
        facts |= {"layers": len(sorts) - sliding, "window_layers": sliding, "window": whole("sliding_window")}
    latent, rope = whole("kv_lora_rank"), whole("qk_rope_head_dim")
    if latent is not None:
        return facts | {"latent_dim": latent + (rope or 0)}
    hidden = whole("hidden_size", "n_embd")
    dim = whole("head_dim") or (hidden // heads if hidden else None)
    if dim is None:
        raise ConfigError(f"{where} has no head_dim.", hint="Give it with --head-dim.")
    return facts | {"kv_heads": whole("num_key_value_heads") or heads, "head_dim": dim}


def checked_id(key: str) -> str:
    """An id that can stand in a command and in TOML.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", key):
        raise ConfigError(f"{key!r} is no id for a model.", hint="Small letters, digits, dots and dashes: my-model-8b.")
    return key


def _own() -> dict[str, Any]:
    path = own_file()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}.", hint="Mend it, or move it away.") from exc


def _document() -> Any:
    import tomlkit

    path = own_file()
    for key, body in _own().items():
        model(key, body, str(path), own=True)
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()


def _write(text: str) -> None:
    path = own_file()
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror or exc}.", hint="Check the folder.") from exc


def _wrong(where: str, key: str, field: str, what: str) -> ConfigError:
    return ConfigError(f"{where}: {key}.{field} {what}.", hint=f"Example: {field} = {EXAMPLE.get(field, '32')}")
