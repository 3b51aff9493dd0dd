"""Causal language model perplexity against transformers' own loss, with a small GPT-2 that has learned some English."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from synthvlm_dagster.captions.measures.causal_lm_perplexity import CausalLmPerplexity
from synthvlm_dagster.captions.measures.perplexity import perplexity_measure
from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.recipe import CausalLm, Perplexity
from synthvlm_dagster_tests.captions.measures.language import as_captions, measured, sentences, shuffled

CONTEXT = 48
EDGE = "<|endoftext|>"


@pytest.fixture(scope="module")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers, trained for some seconds on the demo's captions."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    known = sentences(2000)
    tokenizer = _tokenizer(known)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(_config(len(tokenizer)))
        _train(model, tokenizer, known)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[EDGE], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=EDGE, eos_token=EDGE)


def _config(vocab_size: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=CONTEXT,
        n_embd=48,
        n_layer=2,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
    )


def _train(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    chance = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = [[0, *ids][:CONTEXT] for ids in tokenizer(texts)["input_ids"]]
    for _ in range(120):
        batch = [torch.tensor(rows[number]) for number in chance.integers(0, len(rows), 16)]
        ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=-100)
        loss = model(input_ids=ids.clamp(min=0), attention_mask=(ids >= 0).long(), labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def perplexity(folder: Path | str, **changed: Any) -> CausalLmPerplexity:
    return CausalLmPerplexity(CausalLm.model_validate({"model": str(folder), "device": "cpu", **changed}))


@pytest.fixture
def texts() -> list[str]:
    """Of many lengths, two of them beyond the context."""
    english = sentences(60, seed=1)
    return [*english, *map(shuffled, english), "a", "İ 漢字 😀", "circle " * 100, " ".join(english)]


def plain(folder: Path, text: str) -> float:
    """exp of the loss that transformers itself gives a single text."""
    model = GPT2LMHeadModel.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]][:CONTEXT]])
    with torch.inference_mode():
        return math.exp(model(input_ids=ids, labels=ids).loss.item())


def test_is_transformers_own_loss_of_a_single_text(lm_folder: Path, texts: list[str]) -> None:
    chosen = [*texts[:5], *texts[-4:]]
    values = measured(perplexity(lm_folder), chosen)["value"].to_list()
    assert values == pytest.approx([plain(lm_folder, text) for text in chosen], rel=1e-4)


def test_the_size_of_batches_does_not_matter(lm_folder: Path, texts: list[str]) -> None:
    alone = measured(perplexity(lm_folder, batch_size=1), texts)["value"].to_list()
    for batch_size in (7, 64, 1000):
        together = measured(perplexity(lm_folder, batch_size=batch_size), texts)["value"].to_list()
        assert together == pytest.approx(alone, rel=1e-4)


def test_english_is_less_surprising_than_its_words_in_another_order(lm_folder: Path) -> None:
    english = sentences(100, seed=2)
    right = measured(perplexity(lm_folder), english)["value"]
    wrong = measured(perplexity(lm_folder), map(shuffled, english))["value"]
    assert (right < wrong).mean() >= 0.95
    assert right.median() < wrong.median() / 3


def test_half_precision_is_about_the_same(lm_folder: Path, texts: list[str]) -> None:
    full = measured(perplexity(lm_folder), texts)["value"].to_list()
    half = measured(perplexity(lm_folder, dtype="bfloat16"), texts)["value"].to_list()
    assert half == pytest.approx(full, rel=0.1)


def test_long_texts_are_cut_off_at_the_context(lm_folder: Path) -> None:
    words = " circle" * CONTEXT
    values = measured(perplexity(lm_folder), [words, words + words, words + " never read"])["value"]
    assert values.n_unique() == 1


def test_a_text_without_two_tokens_is_not_measured(lm_folder: Path, tmp_path: Path) -> None:
    rows = measured(perplexity(lm_folder), ["", "a"])
    assert rows["problem"].to_list() == ["the text has fewer than two tokens", None]
    assert rows["value"].is_null().to_list() == [True, False]

    edgeless = copy(lm_folder, tmp_path / "edgeless")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(lm_folder)
    tokenizer.bos_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(edgeless)
    rows = measured(perplexity(edgeless), ["", "a", "a red circle"])
    assert rows["value"].is_null().to_list() == [True, True, False]


def test_a_model_that_gives_nan_measures_nothing(lm_folder: Path, tmp_path: Path) -> None:
    broken = copy(lm_folder, tmp_path / "broken")
    model = GPT2LMHeadModel.from_pretrained(lm_folder)
    model.transformer.wpe.weight.data[10] = math.nan
    model.save_pretrained(broken)
    rows = measured(perplexity(broken, batch_size=1), ["a", "circle " * 30])
    assert rows["value"].is_null().to_list() == [False, True]
    assert rows["problem"].to_list() == [None, "the model gives no finite value; try another dtype"]


def test_values_come_as_they_are_known(lm_folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthvlm_dagster.captions.measures.causal_lm_perplexity.SECONDS_BETWEEN_REPORTS", 0.0)
    captions = as_captions(["", *texts])
    frames = list(perplexity(lm_folder, batch_size=10).measure(captions, lambda _: None))
    assert len(frames) >= 12
    assert sorted(pl.concat(frames)["key"]) == sorted(captions["key"])


def test_the_rule_names_the_measure(lm_folder: Path) -> None:
    rule = Perplexity(causal_lm=CausalLm(model=str(lm_folder), device="cpu"))
    measure = perplexity_measure(rule, "<image>\n{caption} <|__dj__eoc|>")
    assert measure.name == "perplexity"
    assert not measure.extras
    assert measure.identity == perplexity(lm_folder).identity
    text = sentences(1)
    assert measured(measure, text).equals(measured(perplexity(lm_folder), text))


def test_identity_changes_with_all_that_changes_values(lm_folder: Path) -> None:
    identity = perplexity(lm_folder).identity
    assert perplexity(lm_folder, batch_size=3, device="auto").identity == identity
    others = [perplexity(lm_folder, dtype="float16"), perplexity("org/lm"), perplexity("org/lm", revision="abc")]
    assert len({identity, *(other.identity for other in others)}) == 4


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def refusal(model: Path | str, **changed: Any) -> str:
    with pytest.raises(ModelError) as caught:
        measured(perplexity(model, **changed), ["a red circle"])
    assert str(caught.value).startswith("curation.rules.perplexity.causal_lm.model: ")
    return str(caught.value)


def test_refuses_folders_that_are_no_causal_language_model(lm_folder: Path, tmp_path: Path) -> None:
    assert "no such model folder" in refusal("/nowhere")
    assert "neither a folder nor a hub id" in refusal("an org/gpt")
    (tmp_path / "empty").mkdir()
    assert "config.json: cannot be read" in refusal(tmp_path / "empty")

    pickled = copy(lm_folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "holds no weights (*.safetensors)" in refusal(pickled)

    torn = copy(lm_folder, tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:1000])
    assert "cannot be loaded" in refusal(torn)

    other = copy(lm_folder, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "clip"}))
    assert "cannot be loaded" in refusal(other)

    bare = copy(lm_folder, tmp_path / "bare")
    config = GPT2Config.from_pretrained(lm_folder, tie_word_embeddings=False)
    GPT2Model(config).save_pretrained(bare)
    assert "its weights lack lm_head.weight" in refusal(bare)

    both_ways = copy(lm_folder, tmp_path / "both_ways")
    config = BertConfig(
        vocab_size=500,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    BertLMHeadModel(config).save_pretrained(both_ways)
    assert "depends on later ones" in refusal(both_ways)


def test_a_models_own_code_is_not_run(lm_folder: Path, tmp_path: Path) -> None:
    foreign = copy(lm_folder, tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Lm"}}
    (foreign / "config.json").write_text(json.dumps(config))
    (foreign / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "cannot be loaded" in refusal(foreign)
    assert not (tmp_path / "ran").exists()


def test_a_device_that_does_not_exist_is_named(lm_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"perplexity\.causal_lm\.device: torch cannot use .abacus"):
        measured(perplexity(lm_folder, device="abacus"), ["a red circle"])


def test_a_hub_model_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path / "cache"), raising=False)
    words = refusal("someone/some-lm", revision="abc")
    assert "cannot be loaded" in words
    assert "needs the network" in words
