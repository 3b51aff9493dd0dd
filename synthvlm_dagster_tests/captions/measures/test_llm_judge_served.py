"""The judge against a real server, with a real if tiny chat model that has learned to say no to advertisements."""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from synthvlm_dagster.captions.measures.llm_judge import LlmVerdicts
from synthvlm_dagster.errors import EndpointError
from synthvlm_dagster.recipe import LlmJudge

SEEN = ["a", "red", "green", "dog", "cat", "on", "the", "grass", "beach", "boat"]
SOLD = ["buy", "cheap", "click"]
SPECIAL = ["<unk>", "<pad>", "<eos>", "<user>", "<assistant>", "yes", "no"]
CHAT = (
    "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def captions(seed: int, count: int) -> list[tuple[str, bool]]:
    """Random captions, and whether each is free of advertising."""
    random_words = random.Random(seed)
    made = []
    for number in range(count):
        words = random_words.choices(SEEN, k=random_words.randint(3, 12))
        if number % 2:
            words[random_words.randrange(len(words))] = random_words.choice(SOLD)
        made.append((" ".join(words), not number % 2))
    return made


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 25 thousand weights with tokenizer and chat template, taught in a few seconds."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(SPECIAL + SEEN + SOLD)}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", chat_template=CHAT
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(ids),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            eos_token_id=ids["<eos>"],
            pad_token_id=ids["<pad>"],
            bos_token_id=None,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(300):
        lessons = [
            f"<user> {text} good? <assistant> {'yes' if good else 'no'} <eos>" for text, good in captions(step, 32)
        ]
        batch = tokenizer(lessons, return_tensors="pt", padding=True)
        answered = (batch.input_ids == ids["<assistant>"]).cumsum(1) - (batch.input_ids == ids["<assistant>"]).int()
        labels = batch.input_ids.masked_fill((answered == 0) | (batch.attention_mask == 0), -100)
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    folder = tmp_path_factory.mktemp("models") / "tiny-chat"
    model.generation_config = GenerationConfig(eos_token_id=ids["<eos>"], pad_token_id=ids["<pad>"])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base_url(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with the tiny model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(chat_model), "--device", "cpu"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def keyed(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"key": texts, "text": texts}).with_columns(image_uri=pl.lit(None, pl.String)).unique("key")


def test_a_served_model_judges(base_url, chat_model):
    expected = dict(captions(seed=-1, count=60))
    rule = LlmJudge(base_url=base_url, model=str(chat_model), question="{caption} good?", concurrency=4)
    table = pl.concat(LlmVerdicts(rule).measure(keyed(list(expected)), print))
    assert table["problem"].null_count() == table.height == len(expected)
    said = dict(table.select("key", "value").iter_rows())
    wrong = [text for text, good in expected.items() if said[text] != good]
    assert len(wrong) <= 2
    # <user>, the caption's words, good?, <assistant>; then the word and <eos>.
    tokens = {text: (len(text.split()) + 3, 2) for text in expected}
    assert {key: counts for key, *counts in table.select("key", "prompt_tokens", "completion_tokens").iter_rows()} == {
        text: list(counts) for text, counts in tokens.items()
    }


def test_a_model_that_is_not_served(base_url):
    rule = LlmJudge(base_url=base_url, model="someone/else", concurrency=2)
    with pytest.raises(EndpointError, match="someone/else"):
        list(LlmVerdicts(rule).measure(keyed([text for text, _ in captions(1, 60)]), print))
