"""The arithmetic of VRAM, against figures that others publish."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gpudash.config import models as registry
from gpudash.errors import UsageError
from gpudash.model.fit import Model, Precision, Use, fits, fitting, need, needs, use_of
from gpudash.model.money import Price
from gpudash.model.offer import Offer

MODELS = registry.load()
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def offer(gpus: int, vram: int, price: str | None = "1.00", *, available: bool | None = True, name: str = "t") -> Offer:
    cost = None if price is None else Price(Decimal(price), "catalogue")
    return Offer("a", "sandbox", name, "GPU", gpus, vram, "r", cost, False, available, NOON)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("llama-3.1-8b", 16_060_522_496),
        ("llama-3.3-70b", 141_107_412_992),
        ("qwen2.5-72b", 145_412_407_296),
        ("mixtral-8x7b", 93_405_585_408),
        ("qwen3-32b", 65_524_246_528),
    ],
)
def test_weights_are_as_large_as_the_published_files(model: str, size: int) -> None:
    """`total_size` in each model's own model.safetensors.index.json."""
    assert MODELS[model].weights(Precision.BF16) == size


def test_experts_in_mxfp4_make_the_published_size() -> None:
    """gpt-oss-120b's checkpoint is given as 60.8 GiB, gpt-oss-20b's as 12.8 GiB (their model card, table 1)."""
    assert MODELS["gpt-oss-120b"].weights(Precision.MXFP4) / 2**30 == pytest.approx(60.8, abs=0.1)
    assert MODELS["gpt-oss-20b"].weights(Precision.MXFP4) / 2**30 == pytest.approx(12.8, abs=0.1)


@pytest.mark.parametrize(
    ("model", "size"),
    [("llama-3.3-70b", 327_680), ("llama-3.1-8b", 131_072), ("deepseek-v3", 70_272), ("qwen3-32b", 262_144)],
)
def test_keys_and_values_of_one_token(model: str, size: int) -> None:
    """As published for grouped-query heads, and for DeepSeek's latent vector (DeepSeek-V3 paper: 70 KB a token)."""
    found = need(MODELS[model], Use(Precision.BF16, context=1), 1)
    assert found is not None
    assert found.kv == size


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    model = MODELS["gemma-3-27b"]
    long, longer = (need(model, Use(Precision.BF16, context=size), 1) for size in (32_768, 65_536))
    assert long is not None
    assert longer is not None
    assert longer.kv - long.kv == 10 * 32_768 * 2 * 16 * 128 * 2  # ten of its 62 layers see everything


def test_linear_attention_keeps_the_same_for_any_context() -> None:
    model = MODELS["qwen3-next-80b"]
    short, long = (need(model, Use(Precision.BF16, context=size), 1) for size in (2048, 65_536))
    assert short is not None
    assert long is not None
    assert short.state == long.state > 0


def test_gpus_share_weights_but_not_what_cannot_be_split() -> None:
    use = Use(Precision.BF16, context=8192)
    four, sixteen = need(MODELS["llama-3.3-70b"], use, 4), need(MODELS["llama-3.3-70b"], use, 16)
    assert four is not None
    assert sixteen is not None
    assert four.weights == 35_276_853_248
    assert four.kv == 8192 * 327_680 // 4
    assert sixteen.kv == 8192 * 327_680 // 8  # eight heads of keys and values: two GPUs keep the same one
    latent = need(MODELS["deepseek-v3"], use, 8)
    assert latent is not None
    assert latent.kv == 8192 * 70_272  # every GPU keeps the latent vector


def test_a_number_of_gpus_that_does_not_divide_the_heads_is_none() -> None:
    assert need(MODELS["qwen2.5-7b"], Use(Precision.BF16, 8192), 8) is None
    assert [found.gpus for found in needs(MODELS["qwen2.5-7b"], Use(Precision.BF16, 8192))] == [1, 2, 4]
    assert not fits(MODELS["qwen2.5-7b"], Use(Precision.BF16, 8192), offer(3, 80))


def test_70b_in_16_bits_wants_two_cards_of_80_gb_and_a_little_more() -> None:
    """141 GB of weights leave no room on two cards of 80 GB, of which 144 GB can be used; at 4 bits one is enough."""
    model = MODELS["llama-3.3-70b"]
    assert not fits(model, use_of(model, context=32_768), offer(2, 80))
    assert fits(model, use_of(model, context=32_768), offer(2, 96))
    assert fits(model, use_of(model, context=8192, precision="int4"), offer(1, 80))


def test_quantized_weights_leave_embeddings_at_16_bits() -> None:
    model = MODELS["llama-3.1-8b"]
    assert model.weights(Precision.FP8) == 6_979_588_096 + 2 * 1_050_673_152
    assert model.weights(Precision.INT4) < model.weights(Precision.FP8) < model.weights(Precision.BF16)


def test_what_is_in_stock_comes_first_then_price_and_unknown_prices_last() -> None:
    model = MODELS["qwen3-8b"]
    offers = [
        offer(1, 80, "0.50", available=False, name="gone"),
        offer(1, 80, None, name="dark"),
        offer(1, 80, "3.00", name="dear"),
        offer(1, 48, "1.00", name="cheap"),
        offer(1, 16, "0.10", name="small"),
        offer(1, 48, "0.20", available=None, name="maybe"),
    ]
    found = [item.instance_type for item in fitting(model, use_of(model), offers)]
    assert found == ["cheap", "dear", "dark", "maybe", "gone"]


def test_a_context_beyond_the_models_own_is_refused() -> None:
    with pytest.raises(UsageError, match="context of 16384"):
        use_of(MODELS["phi-4"], context=32_768)
    with pytest.raises(UsageError, match="not published as mxfp4"):
        use_of(MODELS["phi-4"], precision="mxfp4")


def test_without_words_the_model_is_used_as_published() -> None:
    assert use_of(MODELS["deepseek-r1"]).precision is Precision.FP8
    assert use_of(MODELS["gpt-oss-20b"]).precision is Precision.MXFP4
    short = replace(MODELS["phi-4"], context=4096)
    assert use_of(short).context == 4096


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.id)
def test_every_shipped_model_says_where_it_is_from_and_adds_up(model: Model) -> None:
    assert model.source
    assert model.as_of is not None
    assert model.embedding_parameters + model.expert_parameters < model.parameters
    assert needs(model, use_of(model))
    size = next((word for word in model.id.split("-") if word[:1].isdigit() and word.endswith("b")), None)
    if size is not None and "x" not in size:
        assert model.parameters / 1e9 == pytest.approx(float(size[:-1]), rel=0.28)
