"""`fit` and `models` on the real command line, over the sandbox's offers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    program = Cli(tmp_path_factory.mktemp("models"))
    yield program
    program.clean()


def test_fit_shows_the_arithmetic_and_the_cheapest_offers(cli: Cli) -> None:
    answer = cli("fit", "qwen3-32b", "--context", "32k")
    assert answer.code == 0
    for words in ("65.52 GB  32,762,123,264 × 16 bits", "2 × 8 heads × 128 × 64 layers × 32,768 tokens", "84.0",
                  "litgpt", "offers that fit"):  # fmt: skip
        assert words in answer.out


def test_fit_answers_in_json_with_offers_that_have_the_room(cli: Cli) -> None:
    doc = cli("fit", "Qwen/Qwen3-32B", "--gpus", "2", "--json").doc
    two = next(need for need in doc["needs"] if need["gpus"] == 2)
    assert two["each_bytes"] == two["weights_bytes"] + two["kv_bytes"] + two["state_bytes"] + two["overhead_bytes"]
    assert doc["offers"]
    for offer in doc["offers"]:
        assert offer["gpu_count"] == 2
        assert offer["vram_gb"] >= two["vram_gb"]
    prices = [offer["price_usd_per_hour"] for offer in doc["offers"] if offer["available"]]
    assert prices == sorted(prices)


def test_out_of_stock_is_answered_with_alternatives_that_are_in_stock(cli: Cli) -> None:
    everything = cli("fit", "llama-3.3-70b", "--json").doc["offers"]
    place = next(offer for offer in everything if not offer["available"])
    narrow = ["--region", place["region"], "--gpus", str(place["gpu_count"]), "--on-demand", "--account", "sandbox"]
    if place["spot"]:
        narrow[4] = "--spot"
    dear = ["--max-price", str(place["price_usd_per_hour"])]
    doc = cli("fit", "llama-3.3-70b", *narrow, *dear, "--json").doc
    assert len(doc["alternatives"]) <= 3
    if not any(offer["available"] for offer in doc["offers"]):
        for other in doc["alternatives"]:
            assert other["offer"]["available"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fit", "no-such-model"], 3, "models add"),
        (["fit", "qwen3"], 3, "fits several"),
        (["fit", "phi-4", "--context", "1m"], 2, "16384"),
        (["fit", "phi-4", "--context", "long"], 2, "32k"),
        (["fit", "phi-4", "--precision", "mxfp4"], 2, "bf16"),
        (["fit", "phi-4", "--account", "nowhere"], 2, "nowhere"),
        (["models", "show", "nothing"], 3, "nothing"),
        (["models", "add", "Bad Name", "--parameters", "8b", "--heads", "8", "--layers", "8", "--kv-heads", "8",
          "--head-dim", "64", "--context", "4096"], 2, "Small letters"),
        (["models", "add", "mine", "--parameters", "many", "--heads", "8", "--layers", "8", "--kv-heads", "8",
          "--head-dim", "64", "--context", "4096"], 2, "8.03b"),
        (["models", "add", "mine", "--parameters", "8b"], 2, "--heads, --layers, --context"),
        (["models", "remove", "phi-4"], 3, "Yours: none yet"),
        (["--read-only", "models", "add", "mine", "--parameters", "8b"], 4, "--read-only"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_way_out(cli: Cli, words: list[str], code: int, said: str) -> None:
    answer = cli(*words)
    assert answer.code == code
    assert said in answer.err


def test_a_model_of_ones_own_comes_from_its_config_file_and_goes_again(cli: Cli, tmp_path: Path) -> None:
    published = {"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "hidden_size": 4096,
                 "max_position_embeddings": 131072}  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps(published))
    own = cli.config_file.parent / "models.toml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("# mine\n")
    assert cli("models", "add", "my-8b", "--parameters", "8.03b", "--config", str(file)).code == 0
    assert own.read_text().startswith("# mine\n")
    shown = cli("models", "show", "my-8b", "--json").doc
    assert (shown["parameters"], shown["kv_heads"], shown["head_dim"], shown["own"]) == (8_030_000_000, 8, 128, True)
    assert "my-8b" in cli("models").out
    mine, theirs = (cli("fit", name, "--context", "8k", "--json").doc["needs"][0] for name in ("my-8b", "llama-3.1-8b"))
    assert mine["kv_bytes"] == theirs["kv_bytes"]
    assert cli("models", "remove", "my-8b").code == 0
    assert cli("models", "show", "my-8b").code == 3


def test_a_wrong_file_of_ones_own_names_the_field(cli: Cli) -> None:
    own = cli.config_file.parent / "models.toml"
    own.parent.mkdir(parents=True, exist_ok=True)
    before = own.read_text() if own.exists() else ""
    try:
        own.write_text('[mine]\nname = "m"\nparameters = 5\nheads = "many"\nlayers = 1\ncontext = 1\n'
                       'precision = "bf16"\nsource = "me"\n')  # fmt: skip
        answer = cli("fit", "phi-4")
        assert answer.code == 2
        assert "mine.heads wants a whole number" in answer.err
    finally:
        own.write_text(before)


def test_offers_say_what_a_gpu_and_a_gb_cost(cli: Cli) -> None:
    offer = cli("offers", "--gpu", "l4", "--gpus", "4", "--json").doc["offers"][0]
    assert offer["usd_per_gpu_hour"] * 4 == pytest.approx(offer["price_usd_per_hour"])
    assert offer["usd_per_vram_gb_hour"] * 4 * offer["vram_gb"] == pytest.approx(offer["price_usd_per_hour"])
    assert "$/GB" in cli("offers", "--gpu", "l4").out
