"""Parts that tests of several stages share: tiny real SDXL and open_clip folders, recipes that use them, and stores."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from absl import logging as absl_logging
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

from synthvlm_dagster.recipe import Recipe

# A shell that starts the tests in the background has them ignore interrupts, and every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# When Dagster sets up its logs, every handler is closed, and mlcroissant's would close what pytest writes to.
absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

# The same examples each time: who changed nothing sees no new failure. Under a load, an example may take its time.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Failures of tests that feed damaged text quote it; halves of surrogate pairs in it would end the worker."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value))
    return value


TINY_SIZE = 32
"""Width and height of the tiny pipeline's images, in pixels."""


@pytest.fixture(scope="session")
def tiny_sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionXLPipeline with seeded random weights, as save_pretrained writes it; 32×32 pixels."""
    return save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture
def tiny_recipe(tiny_sdxl_folder: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes recipes that generate with the tiny pipeline into a temporary store.

    Keyword arguments replace top-level keys; `generation={...}` changes only the keys it names.
    """

    def make(generation: dict[str, Any] | None = None, **changed: Any) -> Recipe:
        recipe = {
            "name": "tiny",
            "seed": 7,
            "storage": str(tmp_path / "store"),
            "sources": [{"name": "none", "path": str(tmp_path / "captions.txt")}],
            "shards": 2,
            "generation": {
                "model": str(tiny_sdxl_folder),
                "num_inference_steps": 2,
                "guidance_scale": 3.0,
                "width": TINY_SIZE,
                "height": TINY_SIZE,
                "dtype": "float32",
                "device": "cpu",
                "batch_size": 2,
                "images_per_chunk": 4,
                **(generation or {}),
            },
            "selection": {"share": 0.5},
        }
        return Recipe.model_validate(recipe | changed)

    return make


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip model folder with seeded random weights, whose cosines are positive for most images."""
    return save_tiny_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


def save_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write an open_clip folder: a small vision transformer, open_clip's own tokenizer, 16 tokens of context."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    architecture = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**architecture)
        # A constant that both towers add to what they see keeps the cosines above 0, where scores are cut off.
        for projection in (model.visual.proj, model.text_projection):
            projection.data[:, 0] = 0.3
        for norm in (model.visual.ln_post, model.ln_final):
            norm.bias.data += 0.3
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": architecture, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def save_tiny_sdxl(folder: Path, *, seed: int = 0, refiner: bool = False) -> Path:
    """Write a pipeline folder of a few hundred thousand random weights.

    Args:
        folder: to create.
        seed: of the weights.
        refiner: write an SDXL refiner (StableDiffusionXLImg2ImgPipeline without the first text encoder), whose VAE
            and second text encoder have the shapes of the base model's.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLImg2ImgPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    width = 16
    text = CLIPTextConfig(
        vocab_size=260,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=width,
        bos_token_id=258,
        eos_token_id=259,
        pad_token_id=0,
    )
    tokenizer = byte_tokenizer(length=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        second_encoder = CLIPTextModelWithProjection(text)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            block_out_channels=(8, 8),
            norm_num_groups=4,
            sample_size=TINY_SIZE,
            force_upcast=False,
        )
        unet = UNet2DConditionModel(
            sample_size=TINY_SIZE // 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=(5 if refiner else 6) * 4 + width,
            cross_attention_dim=width if refiner else 2 * width,
        )
        # Untrained, it predicts next to no noise: enlarged, text and refiner change the pictures visibly.
        unet.conv_out.weight.data *= 10
        common = {
            "vae": vae,
            "text_encoder_2": second_encoder,
            "tokenizer_2": tokenizer,
            "unet": unet,
            "scheduler": EulerDiscreteScheduler(),
        }
        if refiner:
            pipeline = StableDiffusionXLImg2ImgPipeline(
                text_encoder=None, tokenizer=None, requires_aesthetics_score=True, **common
            )
        else:
            pipeline = StableDiffusionXLPipeline(text_encoder=CLIPTextModel(text), tokenizer=tokenizer, **common)
    pipeline.save_pretrained(folder)
    return folder


def byte_tokenizer(length: int) -> Any:
    """A CLIP tokenizer without merges: one token per byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = ["<|pad|>", *letters, "</w>", "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[],
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|pad|>",
        model_max_length=length,
    )
