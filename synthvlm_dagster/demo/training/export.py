"""The trained weights as folders that diffusers and open_clip open by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from synthvlm_dagster.demo.training.clip import EMBEDDING, TEXT_TOWER, VISION_TOWER, text_encoder_2
from synthvlm_dagster.demo.training.tokenizer import build_tokenizer
from synthvlm_dagster.demo.training.unet import build_scheduler


def export_generator(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    clip: open_clip.CLIP,
    text_encoder_1: CLIPTextModel,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a `StableDiffusionXLPipeline` folder; load it with `torch_dtype=torch.float32` on a CPU."""
    tokenizer = build_tokenizer()
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoder_1,
        text_encoder_2=text_encoder_2(clip, tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        add_watermarker=False,
    )
    pipeline.to(dtype=dtype)
    pipeline.save_pretrained(folder, safe_serialization=True)
    _forget_where_it_was_made(folder)
    _make_readable(folder)


def export_clip(folder: Path, clip: open_clip.CLIP) -> None:
    """Write a folder that `open_clip.create_model_and_transforms("local-dir:<folder>")` opens without a network."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    vision = {key: value for key, value in VISION_TOWER.items() if value is not None}
    text = {**TEXT_TOWER, "vocab_size": len(tokenizer), "hf_tokenizer_name": "tokenizer.json of this folder"}
    half = [0.5, 0.5, 0.5]
    config = {
        "model_cfg": {"embed_dim": EMBEDDING, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name: value.to(torch.float16).contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in clip.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    _make_readable(folder)


def _forget_where_it_was_made(folder: Path) -> None:
    """diffusers keeps the path that a part was loaded from in its config."""
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n")


def _make_readable(folder: Path) -> None:
    """safetensors writes files that only their owner can read; a package is read by everybody."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
