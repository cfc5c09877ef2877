"""The price file (docs/definitions.md#ai-cost)."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.prices import WITHHELD, Prices, loggable_model, read_prices

FILE = """
[models."gpt-4.1"]
prompt = 2.0
completion = 8

[models.local-llm]
prompt = 0
completion = 0

[instances."g5.xlarge"]
spot = 0.45
on-demand = 1.006
"""


def prices_in(directory: Path, content: str | bytes) -> Prices:
    path = directory / "prices.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prices(path)


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    return prices_in(tmp_path, FILE)


@pytest.mark.parametrize(
    ("model", "prompt", "completion", "dollars"),
    [
        ("gpt-4.1", 1_000_000, 0, 2.0),
        ("gpt-4.1", 0, 1_000_000, 8.0),
        ("gpt-4.1", 250_000, 125_000, 1.5),
        ("gpt-4.1", 0, 0, 0.0),
        ("local-llm", 10**12, 10**12, 0.0),
        ("gpt-9", 10**12, 10**12, 0.0),
        ("GPT-4.1", 10**12, 10**12, 0.0),
    ],
)
def test_tokens_cost_their_models_price_a_million(
    model: str, prompt: int, completion: int, dollars: float, prices: Prices
) -> None:
    assert prices.of_tokens(model, prompt, completion) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("instance_type", "lifecycle", "dollars"),
    [
        ("g5.xlarge", "spot", 0.9),
        ("g5.xlarge", "on-demand", 2.012),
        ("g5.xlarge", "reserved", 0.0),
        ("p5.48xlarge", "spot", 0.0),
        ("unknown", "unknown", 0.0),
    ],
)
def test_an_instance_costs_its_price_an_hour(
    instance_type: str, lifecycle: str, dollars: float, prices: Prices
) -> None:
    assert prices.of_instance(instance_type, lifecycle, 7200) == pytest.approx(dollars)


def test_an_instance_is_found_under_the_name_it_has_in_metrics(tmp_path: Path) -> None:
    prices = prices_in(tmp_path, '[instances."Standard NC6 (v3)"]\n"pay as you go" = 3.6')
    assert prices.of_instance("StandardNC6v3", "payasyougo", 1000) == pytest.approx(1.0)


def test_an_empty_file_has_no_prices(tmp_path: Path) -> None:
    assert prices_in(tmp_path, "") == Prices(models={}, instances={})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[models", "is not valid TOML"),
        (b"# caf\xe9", "is not valid TOML"),
        ("[models.a]\nprompt = 1", "models.a.completion: field required"),
        ("[models.a]\nprompt = 'dear'\ncompletion = 1", "models.a.prompt: "),
        ("[models.a]\nprompt = -1\ncompletion = 1", "models.a.prompt: "),
        ("[models.a]\nprompt = nan\ncompletion = 1", "models.a.prompt: "),
        ("[models.a]\nprompt = inf\ncompletion = 1", "models.a.prompt: "),
        ("[models.a]\nprompt = 1\ncompletion = 1\ncached = 1", "models.a.cached: "),
        ("[instances.a]\nspot = -0.1", "instances.a.spot: "),
        ("[instances]\na = 3", "instances.a: "),
        ("[model.a]\nprompt = 1\ncompletion = 1", "model: "),
        ("[models.other]\nprompt = 1\ncompletion = 1", "models: "),
    ],
    ids=[
        "no TOML",
        "no UTF-8",
        "half a price",
        "a word",
        "negative",
        "not a number",
        "infinite",
        "a price we do not know",
        "negative instance",
        "an instance without a lifecycle",
        "a table we do not know",
        "a price for what has none",
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place_in_it(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"prices\.toml") as raised:
        prices_in(tmp_path, content)
    assert message in str(raised.value)


def test_every_mistake_in_a_file_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prices\.toml") as raised:
        prices_in(tmp_path, "[models.a]\nprompt = -1\n[instances.b]\nspot = 'x'\n[extra]")
    for place in ("models.a.prompt: ", "models.a.completion: ", "instances.b.spot: ", "extra: "):
        assert place in str(raised.value)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read") as raised:
        read_prices(tmp_path / name)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("model", "logged"),
    [
        (None, "(none)"),
        ("", "(none)"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-20241022"),
        ("meta-llama/Llama-3.1:70b", "meta-llama/Llama-3.1:70b"),
        ("x" * 300, "x" * 100),
        ("ft:gpt-4o-mini:ada-ltd:ada-lovelace:7p4lURel", "ft:gpt-4o-mini:..."),
        ("ada@example.org", WITHHELD),
        ("gpt-4 (ada@example.org)", WITHHELD),
        ("gpt-4-8a1f0f5e-1f5b-4d7c-9a55-0f6f4a0c1d2e", WITHHELD),
        ("arn:aws:bedrock:eu-west-1:123456789012:custom-model/x", WITHHELD),
        ("gpt-4-0123456789abcdef0", WITHHELD),
        ("Ada Lovel\u00e1ce", WITHHELD),
        ("gpt\nada", WITHHELD),
        ("x" * 100 + "@example.org", "x" * 100),
    ],
)
def test_the_name_of_a_model_is_logged_without_an_identity(model: str | None, logged: str) -> None:
    assert loggable_model(model) == logged
