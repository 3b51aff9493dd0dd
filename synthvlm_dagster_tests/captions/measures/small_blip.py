"""A BLIP retrieval model that has learned to tell large red, green and blue circles apart, and nothing else."""

from pathlib import Path

import numpy as np
import torch
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor, BlipProcessor

from synthvlm_dagster.demo import world

SIDE = 32
POSITIONS = 24
SCENES = [world.Scene((world.Object("large", colour, "circle"),), "plain white") for colour in ("red", "green", "blue")]


def save_small_blip(folder: Path) -> Path:
    """Write a model with two layers a side, trained for some seconds, and its processor."""
    processor = _processor()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BlipForImageTextRetrieval(configuration(len(processor.tokenizer)))
        _train(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def configuration(vocab_size: int) -> BlipConfig:
    """Shapes of the model."""
    # With transformers' usual small weights and dropout, so small a model does not begin to learn.
    tower = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
    }
    text = {
        "vocab_size": vocab_size,
        "encoder_hidden_size": 64,
        "max_position_embeddings": POSITIONS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {"image_size": SIDE, "patch_size": 8}
    return BlipConfig(text_config=tower | text, vision_config=tower | vision, image_text_hidden_size=16)


def _processor() -> BlipProcessor:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *world.vocabulary(), ".", ","]
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)})
    return BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer)


def _train(model: BlipForImageTextRetrieval, processor: BlipProcessor) -> None:
    chance = np.random.default_rng(0)
    drawn = [world.render(scene, chance) for scene in SCENES * 16]
    pixels = processor.image_processor(drawn, return_tensors="pt")["pixel_values"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for _ in range(150):
        shown = chance.integers(0, len(drawn), 32)
        fits = chance.integers(0, 2, 32)
        told = np.where(fits, shown, shown + chance.integers(1, 3, 32)) % len(SCENES)
        texts = [world.write_caption(SCENES[number], chance) for number in told]
        inputs = processor.tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        scores = model(pixel_values=pixels[shown], **inputs).itm_score
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(fits))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
