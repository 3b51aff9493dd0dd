"""SDXL base and refiner in their published configurations, with random weights: the same arithmetic, no download.

    python benchmarks/random_sdxl.py FOLDER

writes FOLDER/base, FOLDER/refiner and FOLDER/vae (an autoencoder that is not marked as overflowing in float16, as
madebyollin/sdxl-vae-fp16-fix is) in float16, about 15 GB. Configurations are those of
stabilityai/stable-diffusion-xl-base-1.0 and -refiner-1.0; the vocabulary is CLIP's own, which comes with open_clip.
Pictures are noise.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from synthvlm_dagster.models.quiet import quiet_models

_UNET = {
    "sample_size": 128,
    "layers_per_block": 2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
}
BASE_UNET = {
    **_UNET,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 2816,
}
REFINER_UNET = {
    **_UNET,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (384, 768, 1536, 1536),
    "transformer_layers_per_block": 4,
    "attention_head_dim": (6, 12, 24, 24),
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
_TEXT = {"bos_token_id": 49406, "eos_token_id": 49407, "vocab_size": 49408, "max_position_embeddings": 77}
FIRST_TEXT_ENCODER = {
    **_TEXT,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
SECOND_TEXT_ENCODER = {
    **_TEXT,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}


def save_random_sdxl(folder: Path, device: str = "cpu") -> None:
    """Write the models, unless they are there.

    Args:
        folder: gets `base`, `refiner` and `vae`, each of which appears whole.
        device: torch device that draws the weights; a GPU takes seconds, a CPU minutes.
    """
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLImg2ImgPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)

    def made(model_class: Any, *arguments: Any, **settings: Any) -> Any:
        # Not made in float32 first: that would take twice the memory for a moment.
        with torch.device(device), _default_dtype(torch.float16):
            return model_class(*arguments, **settings)

    def shared_parts() -> dict[str, Any]:
        return {
            "vae": made(AutoencoderKL, **VAE, force_upcast=True),
            "text_encoder_2": made(CLIPTextModelWithProjection, CLIPTextConfig(**SECOND_TEXT_ENCODER)),
            "tokenizer_2": clip_tokenizer(pad_token="!"),
            "scheduler": EulerDiscreteScheduler(**SCHEDULER),
        }

    def base() -> Any:
        return StableDiffusionXLPipeline(
            unet=made(UNet2DConditionModel, **BASE_UNET),
            text_encoder=made(CLIPTextModel, CLIPTextConfig(**FIRST_TEXT_ENCODER)),
            tokenizer=clip_tokenizer(pad_token="<|endoftext|>"),
            **shared_parts(),
        )

    def refiner() -> Any:
        return StableDiffusionXLImg2ImgPipeline(
            unet=made(UNet2DConditionModel, **REFINER_UNET),
            text_encoder=None,
            tokenizer=None,
            requires_aesthetics_score=True,
            force_zeros_for_empty_prompt=False,
            **shared_parts(),
        )

    models = {"base": base, "refiner": refiner, "vae": lambda: made(AutoencoderKL, **VAE, force_upcast=False)}
    for name, make in models.items():
        if not (folder / name).exists():
            unfinished = folder / f"{name}.unfinished"
            with quiet_models():
                make().save_pretrained(unfinished)
            unfinished.rename(folder / name)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def clip_tokenizer(pad_token: str) -> Any:
    """CLIP's tokenizer (49,408 tokens, contexts of 77), built of the merges that come with open_clip.

    Args:
        pad_token: fills contexts up; the text encoders of SDXL differ in it.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    text = gzip.decompress((resources.files("open_clip") / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    # A line of comment, then more merges than the 49,408 tokens have room for.
    merges = [tuple(line.split()) for line in text.split("\n")[1 : 49152 - 256 - 2 + 1]]
    # In the order of GPT-2: printable bytes first, then what stands for the others.
    letters = sorted(ByteLevel.alphabet(), key=lambda letter: (ord(letter) > 255, ord(letter)))
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token=pad_token,
        model_max_length=77,
    )


def main() -> None:
    """Write the models into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    save_random_sdxl(options.folder, "cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
