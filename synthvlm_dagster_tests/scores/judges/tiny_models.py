"""Small real models with random weights for each held-out judge, written as their libraries write them."""

import itertools
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIDE = 32
"""Width and height that the models take, pixels."""
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}ANSWER :"
)
_TALK = "Does this figure show Please answer yes or no Yes No ANSWER picture number a red circle"
WORDS = [*_TALK.split(), '"', ".", ":", "?"]


def save_tiny_llava(folder: Path, *, chat_template: str | None = TEMPLATE) -> Path:
    """A LLaVA of one layer a side, with a tokenizer of some words and every digit."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *WORDS, *map(str, range(100))]
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=chat_template,
        num_additional_image_tokens=1,
    )
    tower: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.3,
    }
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower, image_size=SIDE, patch_size=16),
        text_config=LlamaConfig(
            **tower, num_key_value_heads=2, vocab_size=len(vocabulary), pad_token_id=0, bos_token_id=1, eos_token_id=2
        ),
        image_token_index=vocabulary.index("<image>"),
        image_seq_length=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_tiny_classifier(folder: Path, labels: list[str], *, seed: int = 0) -> Path:
    """A vision transformer of one layer that tells the labels apart, at random."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        initializer_range=0.3,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTForImageClassification(config)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def save_linear_head(file: Path, widths: list[int]) -> Path:
    """Linear layers of these widths one after another, named as LAION names them."""
    names = [""] if len(widths) == 2 else [f"layers.{2 * number}." for number in range(len(widths) - 1)]
    layers = [torch.nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(widths)]
    tensors = {
        f"{name}{part}": tensor.contiguous()
        for name, layer in zip(names, layers, strict=True)
        for part, tensor in layer.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    return file
