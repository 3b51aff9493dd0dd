"""The scorer and the text encoders: a CLIP, and the generator's smaller text encoder beside it.

First both text encoders learn to read (`train_texts`), then, with the texts frozen, the CLIP learns to look
(`train_clip`): InfoNCE (Radford et al., arXiv:2103.00020, §2.3) over true pictures, near misses and failures. Every
embedding also has to tell the scene's attributes through a linear head, which is dropped after training.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from synthvlm_dagster.demo import world
from synthvlm_dagster.demo.training.loop import Budget, Trainer
from synthvlm_dagster.demo.training.negatives import Negatives, swap_one_attribute
from synthvlm_dagster.demo.training.pool import Pool, sample_training_scene
from synthvlm_dagster.demo.training.tokenizer import CONTEXT_LENGTH, SCORER_PREFIX, build_tokenizer
from synthvlm_dagster.demo.training.vae import to_model_range

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

EMBEDDING = 128
BATCH = 48
TEXT_BATCH = 32
TEXT_LOGIT_SCALE = 20.0
MAX_LOGIT_SCALE = 50.0
PEAK_LEARNING_RATE = 2e-3

TEXT_TOWER = {"context_length": CONTEXT_LENGTH, "width": 128, "heads": 4, "layers": 3}
VISION_TOWER = {"image_size": world.IMAGE_SIZE, "layers": [1, 2, 2, 1], "width": 16, "patch_size": None}

_OBJECT_SIZES = (len(world.SIZES), len(world.COLOURS), len(world.SHAPES))
ATTRIBUTE_CLASSES = (len(world.BACKGROUNDS), 3, *_OBJECT_SIZES, *_OBJECT_SIZES)
"""Classes of each attribute: background, arrangement, then size, colour and shape of both objects."""

IGNORED = -100


def scene_attributes(scene: world.Scene) -> list[int]:
    """The scene's attributes as class numbers, told from its left or upper object; absent ones are `IGNORED`."""
    scene = scene.canonical()
    arrangement = {None: 0, "to the left of": 1, "above": 2}[scene.relation]
    attributes = [world.BACKGROUNDS.index(scene.background), arrangement]
    for thing in scene.objects:
        attributes += [
            list(world.SIZES).index(thing.size),
            list(world.COLOURS).index(thing.colour),
            world.SHAPES.index(thing.shape),
        ]
    return attributes + [IGNORED] * (len(ATTRIBUTE_CLASSES) - len(attributes))


class TextsAndPictures(nn.Module):
    """Everything that learns to read or to look: the CLIP, text encoder 1, and the heads that are dropped later."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(
            embed_dim=EMBEDDING,
            vision_cfg=CLIPVisionCfg(**VISION_TOWER),
            text_cfg=CLIPTextCfg(vocab_size=len(tokenizer), **TEXT_TOWER),
        )
        self.text_encoder_1 = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=256,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT_LENGTH,
                hidden_act="gelu",
                projection_dim=64,
                **_special_tokens(tokenizer),
            )
        )
        total = sum(ATTRIBUTE_CLASSES)
        self.image_head = nn.Linear(EMBEDDING, total)
        self.text_head = nn.Linear(EMBEDDING, total)
        self.text_head_1 = nn.Linear(64, total)

    def read_with_encoder_1(self, tokens: torch.Tensor) -> torch.Tensor:
        """Text encoder 1's view of the whole text: its next-to-last hidden state, as SDXL reads it, at the last
        position; shape (n, 64)."""
        return self.text_encoder_1(tokens, output_hidden_states=True).hidden_states[-2][:, -1]


def _special_tokens(tokenizer: CLIPTokenizer) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids, padded to the context length: int64, shape (n, 32)."""
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
    ).input_ids


def train_texts(folder: Path, budget: Budget, seed: int) -> TextsAndPictures:
    """Train both text encoders on captions alone.

    Every reading has to tell the scene's attributes; the CLIP's embeddings of two phrasings of one scene, with or
    without the scorer's prefix, have to be closer to each other than to any other scene, one changed word included.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = TextsAndPictures(tokenizer)
    model.clip.visual.requires_grad_(False)
    trainer = Trainer(model, [_adamw(model)], folder / "texts.pt", budget, seed, average_decay=0.995)

    def losses(rng: np.random.Generator) -> dict[str, torch.Tensor]:
        scenes = [sample_training_scene(rng) for _ in range(TEXT_BATCH)]
        scenes += [_swap_within_training(scene, rng) for scene in scenes]
        captions = [world.write_caption(scene, rng) for scene in scenes for _ in range(2)]
        prefixes = [SCORER_PREFIX if rng.random() < 0.5 else "" for _ in captions]
        tokens = tokenize(tokenizer, [prefix + caption for prefix, caption in zip(prefixes, captions, strict=True)])
        attributes = torch.tensor([scene_attributes(scene) for scene in scenes]).repeat_interleave(2, dim=0)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = model.clip.encode_text(tokens).float()
            states_1 = model.read_with_encoder_1(tokens).float()
        ids: dict[world.Scene, int] = {}
        scene_ids = torch.tensor([ids.setdefault(scene.canonical(), len(ids)) for scene in scenes])
        return {
            "paraphrase": 0.5 * _contrast(embeddings[::2], embeddings[1::2], TEXT_LOGIT_SCALE, scene_ids),
            "text": _attribute_loss(model.text_head(embeddings), attributes),
            "text_1": _attribute_loss(model.text_head_1(states_1), attributes),
        }

    trainer.train(losses, log_every=50)
    return trainer.averaged


def _swap_within_training(scene: world.Scene, rng: np.random.Generator) -> world.Scene:
    while world.is_held_out(swapped := swap_one_attribute(scene, rng)):
        pass
    return swapped


def _adamw(model: nn.Module) -> torch.optim.AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": 0.05},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98))


def train_clip(
    texts: TextsAndPictures,
    pool: Pool,
    negatives: Negatives,
    decoded: dict[str, np.ndarray],
    folder: Path,
    budget: Budget,
    seed: int,
) -> TextsAndPictures:
    """Train the image tower against the frozen text tower, on pictures and their near misses, clean and after the VAE.

    Args:
        texts: what `train_texts` gave.
        decoded: for "true", "swapped" and "failed" the first pictures of their kind after the VAE, uint8, shape
            (m, 64, 64, 3) with m ≤ the number of negatives.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = TextsAndPictures(tokenizer)
    model.load_state_dict(texts.state_dict())
    model.requires_grad_(False)
    for part in (model.clip.visual, model.image_head):
        part.requires_grad_(True)
    model.clip.logit_scale.requires_grad_(True)
    model.clip.visual.to(memory_format=torch.channels_last)
    trainer = Trainer(model, [_adamw(model)], folder / "clip.pt", budget, seed, average_decay=0.998)
    batches = _Batches(pool, negatives, decoded, tokenizer, model.clip)

    def losses(rng: np.random.Generator) -> dict[str, torch.Tensor]:
        images, text_features, attributes, scene_ids = batches.draw(rng)
        with torch.autocast("cpu", torch.bfloat16):
            image_features = model.clip.encode_image(images)
        image_features = image_features.float()
        scale = model.clip.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        return {
            "contrast": _contrast(image_features, text_features, scale, scene_ids),
            "image": 0.3 * _attribute_loss(model.image_head(image_features[: len(attributes)]), attributes),
        }

    trainer.train(losses, log_every=50)
    return trainer.averaged


class _Batches:
    """Draws batches: `BATCH` true pictures, as many swapped ones, as many failures; texts for the first two."""

    def __init__(
        self,
        pool: Pool,
        negatives: Negatives,
        decoded: dict[str, np.ndarray],
        tokenizer: CLIPTokenizer,
        clip: open_clip.CLIP,
    ) -> None:
        self._pictures = {"true": pool.images, "swapped": negatives.swapped_images, "failed": negatives.failed_images}
        self._decoded = decoded
        self._size = len(negatives)
        self._features, self._attributes, self._scene_ids = {}, {}, {}
        ids: dict[world.Scene, int] = {}
        for kind, captions in (("true", pool.captions[: self._size]), ("swapped", negatives.swapped_captions)):
            self._features[kind] = torch.stack(
                [_embed(clip, tokenizer, [prefix + caption for caption in captions]) for prefix in ("", SCORER_PREFIX)]
            )
            scenes = [scene for caption in captions if (scene := world.parse_caption(caption)) is not None]
            self._attributes[kind] = torch.tensor([scene_attributes(scene) for scene in scenes])
            self._scene_ids[kind] = torch.tensor([ids.setdefault(scene.canonical(), len(ids)) for scene in scenes])

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        n_decoded = len(self._decoded["true"])
        from_vae = n_decoded > 0 and rng.random() < 0.5
        rows = np.sort(rng.choice(n_decoded if from_vae else self._size, size=BATCH, replace=False))
        pictures = self._decoded if from_vae else self._pictures
        images = to_model_range(np.concatenate([pictures[kind][rows] for kind in ("true", "swapped", "failed")]))
        with_prefix = int(rng.random() < 0.75)
        features = torch.cat([self._features[kind][with_prefix, rows] for kind in ("true", "swapped")])
        attributes = torch.cat([self._attributes[kind][rows] for kind in ("true", "swapped")])
        scene_ids = torch.cat([self._scene_ids[kind][rows] for kind in ("true", "swapped")])
        return images, features, attributes, scene_ids


@torch.no_grad()
def _embed(clip: open_clip.CLIP, tokenizer: CLIPTokenizer, texts: list[str], batch: int = 512) -> torch.Tensor:
    parts = [
        clip.encode_text(tokenize(tokenizer, texts[start : start + batch])) for start in range(0, len(texts), batch)
    ]
    return torch.cat(parts)


def _contrast(
    images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor | float, scene_ids: torch.Tensor
) -> torch.Tensor:
    """InfoNCE in both directions; pictures beyond the texts are negatives only, equal scenes are never negatives."""
    images, texts = functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)
    logits = scale * texts @ images.T
    n = texts.shape[0]
    same = scene_ids[:, None] == scene_ids[None, :]
    same.fill_diagonal_(False)
    same = functional.pad(same, (0, images.shape[0] - n))
    logits = logits.masked_fill(same, -1e4)
    labels = torch.arange(n)
    return 0.5 * (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits[:, :n].T, labels))


def _attribute_loss(logits: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    parts = logits.split(ATTRIBUTE_CLASSES, dim=1)
    return torch.stack(
        [
            functional.cross_entropy(part, target, ignore_index=IGNORED)
            for part, target in zip(parts, attributes.T, strict=True)
        ]
    ).mean()


def text_encoder_2(clip: open_clip.CLIP, tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """The CLIP's text tower in the transformers layout; its `text_embeds` equal open_clip's `encode_text`."""
    width = TEXT_TOWER["width"]
    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=TEXT_TOWER["layers"],
            num_attention_heads=TEXT_TOWER["heads"],
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            projection_dim=EMBEDDING,
            **_special_tokens(tokenizer),
        )
    )
    source = clip.state_dict()
    state = {
        "embeddings.token_embedding.weight": source["token_embedding.weight"],
        "embeddings.position_embedding.weight": source["positional_embedding"],
        "final_layer_norm.weight": source["ln_final.weight"],
        "final_layer_norm.bias": source["ln_final.bias"],
    }
    for layer in range(TEXT_TOWER["layers"]):
        old, new = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            projections = source[f"{old}.attn.in_proj_{kind}"].chunk(3)
            for name, projection in zip(("q_proj", "k_proj", "v_proj"), projections, strict=True):
                state[f"{new}.self_attn.{name}.{kind}"] = projection
            state[f"{new}.self_attn.out_proj.{kind}"] = source[f"{old}.attn.out_proj.{kind}"]
            state[f"{new}.layer_norm1.{kind}"] = source[f"{old}.ln_1.{kind}"]
            state[f"{new}.layer_norm2.{kind}"] = source[f"{old}.ln_2.{kind}"]
            state[f"{new}.mlp.fc1.{kind}"] = source[f"{old}.mlp.c_fc.{kind}"]
            state[f"{new}.mlp.fc2.{kind}"] = source[f"{old}.mlp.c_proj.{kind}"]
    encoder.text_model.load_state_dict(state)
    encoder.text_projection.weight.data.copy_(source["text_projection"].T)
    return encoder.eval()
