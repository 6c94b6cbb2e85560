"""How much VRAM a language model needs to be served, and whether an offer has it. Pure arithmetic, shown step by step.

Four parts, in bytes: the weights; keys and values of the context for each sequence; what linear-attention layers keep
for each sequence; and an overhead. GPUs share a model by tensor parallelism, as vLLM and SGLang do it: weights are
split evenly, so the attention heads must divide by their number; keys and values are split by head, and a head that
cannot be split further, or the one latent vector of latent attention, is kept by each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from gpudash.errors import UsageError
from gpudash.model.offer import Offer

GB = 10**9
"""Clouds sell VRAM in GB; a card sold as 80 GB has at least 80 × 10⁹ bytes."""

USABLE = Decimal("0.90")
"""Share of a card that a server may take. vLLM takes 0.92 by itself (0.9 until 2025): docs.vllm.ai, CacheConfig."""

OVERHEAD_GB = Decimal("1.5")
"""On each GPU, for the CUDA context, communication buffers and activations. An assumption; `--overhead` sets another."""

GPU_COUNTS = (1, 2, 4, 8, 16)


class Precision(StrEnum):
    """How weights are stored."""

    BF16 = "bf16"
    """16 bits; fp16 is the same."""
    FP8 = "fp8"
    """8 bits; embedding and output layers stay at 16. int8 is the same."""
    INT4 = "int4"
    """4 bits and a scale of 16 and a zero of 4 bits for each 128 (AWQ, GPTQ); embedding and output layers at 16."""
    MXFP4 = "mxfp4"
    """Experts in blocks of 32 with 4 bits each and one scale of 8; everything else at 16 (OCP Microscaling, v1.0)."""


_BITS = {
    Precision.BF16: Decimal(16),
    Precision.FP8: Decimal(8),
    Precision.INT4: Decimal(4) + Decimal(16 + 4) / 128,
    Precision.MXFP4: Decimal(4) + Decimal(8) / 32,
}


def bits(precision: Precision) -> Decimal:
    """Bits of one weight that is stored so, its share of scales included."""
    return _BITS[precision]


@dataclass(frozen=True, slots=True)
class Model:
    """What a model's memory follows from. Figures as its published configuration gives them."""

    id: str
    """Our short name: ``qwen3-32b``."""
    name: str
    """Its name at its publisher's: ``Qwen/Qwen3-32B``."""
    parameters: int
    heads: int
    """Attention (query) heads."""
    layers: int
    """Layers that keep keys and values of every token."""
    kv_heads: int | None
    head_dim: int | None
    context: int
    """The longest context in tokens."""
    precision: Precision
    """As it is published."""
    source: str
    as_of: date | None = None
    embedding_parameters: int = 0
    """Of `parameters`, those in the embedding and output layers."""
    expert_parameters: int = 0
    """Of `parameters`, those in routed experts."""
    latent_dim: int | None = None
    """Values a layer keeps of a token with latent attention (DeepSeek's MLA), instead of heads."""
    window: int = 0
    window_layers: int = 0
    """Layers beside `layers` that keep only the last `window` tokens."""
    state_bytes: int = 0
    """What linear-attention layers keep for each sequence."""
    own: bool = False
    """Added by the person."""

    def weights(self, precision: Precision) -> int:
        """Bytes of all weights."""
        if precision is Precision.BF16:
            small = 0
        elif precision is Precision.MXFP4:
            small = self.expert_parameters
        else:
            small = self.parameters - self.embedding_parameters
        bits = small * _BITS[precision] + (self.parameters - small) * 16
        return _up(bits / 8)

    def may_be(self, precision: Precision) -> bool:
        """Whether that way of storing makes sense for it: MXFP4 only for models that were published so."""
        return precision is not Precision.MXFP4 or self.precision is Precision.MXFP4

    def values_a_token(self) -> int:
        """Keys and values of one token in one layer."""
        if self.latent_dim is not None:
            return self.latent_dim
        return 2 * (self.kv_heads or 0) * (self.head_dim or 0)

    def tokens_kept(self, context: int) -> int:
        """Layers × tokens that are kept for one sequence of that length."""
        return self.layers * context + self.window_layers * min(context, self.window)


@dataclass(frozen=True, slots=True)
class Use:
    """How the model is to be used."""

    precision: Precision
    context: int
    """Tokens of each sequence."""
    sequences: int = 1
    """How many at the same time."""
    kv_bytes: int = 2
    """Bytes of one kept value: 2 (bf16), 1 (fp8)."""
    overhead_gb: Decimal = OVERHEAD_GB


@dataclass(frozen=True, slots=True)
class Need:
    """What one number of GPUs must have, in bytes."""

    gpus: int
    weights: int
    """On each."""
    kv: int
    """On each: keys and values."""
    state: int
    """On each."""
    overhead: int
    """On each."""

    @property
    def each(self) -> int:
        """What is taken of each GPU."""
        return self.weights + self.kv + self.state + self.overhead

    @property
    def vram_gb(self) -> Decimal:
        """The VRAM that each GPU must be sold with, since `USABLE` of it can be taken."""
        return Decimal(self.each) / GB / USABLE

    def fits(self, vram_gb: int) -> bool:
        """Whether GPUs of that size have room."""
        return vram_gb >= self.vram_gb


def need(model: Model, use: Use, gpus: int) -> Need | None:
    """What each of so many GPUs must hold; None where the model cannot be split over that number."""
    if gpus < 1 or model.heads % gpus:
        return None
    kv = model.values_a_token() * model.tokens_kept(use.context) * use.sequences * use.kv_bytes
    return Need(
        gpus,
        weights=-(-model.weights(use.precision) // gpus),
        kv=-(-kv // _ways(model, gpus)),
        state=-(-model.state_bytes * use.sequences // gpus),
        overhead=_up(use.overhead_gb * GB),
    )


def needs(model: Model, use: Use) -> tuple[Need, ...]:
    """For each usual number of GPUs that it can be split over."""
    return tuple(found for gpus in GPU_COUNTS if (found := need(model, use, gpus)) is not None)


def fits(model: Model, use: Use, offer: Offer) -> bool:
    """Whether the offer's GPUs together have room for it."""
    found = need(model, use, offer.gpu_count)
    return found is not None and found.fits(offer.vram_gb)


def fitting(model: Model, use: Use, offers: Iterable[Offer]) -> list[Offer]:
    """Those offers that have room: what is in stock before what may be and what is not, each by price."""
    return sorted((offer for offer in offers if fits(model, use, offer)), key=_rank)


def use_of(
    model: Model,
    *,
    precision: str | None = None,
    context: int | None = None,
    sequences: int = 1,
    kv_bytes: int = 2,
    overhead_gb: Decimal = OVERHEAD_GB,
) -> Use:
    """How the model is used where a person says no more than that: as published, with a context of 8192.

    Raises:
        UsageError: a precision it does not have, or a context beyond its own.
    """
    chosen = model.precision if precision is None else Precision(precision)
    if not model.may_be(chosen):
        raise UsageError(f"{model.id} is not published as {chosen}.", hint="Use bf16, fp8 or int4.")
    length = min(8192, model.context) if context is None else context
    if length > model.context:
        raise UsageError(
            f"{model.id} has a context of {model.context} tokens, not {length}.", hint=f"--context {model.context}"
        )
    return Use(chosen, length, sequences, kv_bytes, overhead_gb)


def smaller(model: Model, precision: Precision) -> tuple[Precision, ...]:
    """Ways of storing that take less, the closest first."""
    now = model.weights(precision)
    return tuple(p for p in (Precision.FP8, Precision.INT4) if model.weights(p) < now)


def _ways(model: Model, gpus: int) -> int:
    """Over how many GPUs the keys and values are really split."""
    return 1 if model.latent_dim is not None else min(gpus, model.kv_heads or 1)


def _up(value: Decimal) -> int:
    return int(value.to_integral_value(rounding="ROUND_CEILING"))


def _rank(offer: Offer) -> tuple[int, bool, Decimal, int, str, str]:
    stock = {True: 0, None: 1, False: 2}[offer.available]
    total = offer.total
    price = total.usd_per_hour if total else Decimal(0)
    return (stock, total is None, price, offer.gpu_count, offer.instance_type, offer.region)
