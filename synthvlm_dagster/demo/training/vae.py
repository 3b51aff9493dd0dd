"""The autoencoder: 64×64 pixels to 16×16 cells of 4 numbers, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from synthvlm_dagster.demo.training.group_norm import use_fast_group_norm
from synthvlm_dagster.demo.training.loop import Budget, Trainer
from synthvlm_dagster.demo.training.pool import Pool

BATCH = 16
PEAK_LEARNING_RATE = 2e-3
KL_WEIGHT = 1e-4


def build_vae() -> AutoencoderKL:
    """An untrained autoencoder of SDXL's kind, without attention; `scaling_factor` is set after training."""
    return AutoencoderKL(
        block_out_channels=(16, 16, 48),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
        force_upcast=False,
        scaling_factor=1.0,
    )


def train_vae(pool: Pool, folder: Path, budget: Budget, seed: int) -> AutoencoderKL:
    """Train on the pool's images; the result knows its `latents_mean` and `latents_std`, with `scaling_factor` 1."""
    torch.manual_seed(seed)
    vae = build_vae().to(memory_format=torch.channels_last)
    use_fast_group_norm(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.99))
    trainer = Trainer(vae, [optimizer], folder / "vae.pt", budget, seed, average_decay=0.998)

    def losses(rng: np.random.Generator) -> dict[str, torch.Tensor]:
        batch = np.sort(rng.integers(len(pool), size=BATCH))
        images = to_model_range(pool.images[batch])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample()).sample
        error = decoded.float() - images
        return {
            "mse": 5 * error.square().mean(),
            "l1": error.abs().mean(),
            "kl": KL_WEIGHT * posterior.kl().mean() / 256,
        }

    trainer.train(losses)
    trained = trainer.averaged.to(memory_format=torch.contiguous_format)
    sample = encode(trained, pool.images[:4000])
    trained.register_to_config(
        latents_mean=sample.mean(dim=(0, 2, 3)).tolist(), latents_std=sample.std(dim=(0, 2, 3)).tolist()
    )
    return trained


def to_model_range(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, 64, 64, 3) to float32 (n, 3, 64, 64) in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """float (n, 3, 64, 64) in [-1, 1] to uint8 (n, 64, 64, 3)."""
    scaled = images.float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.permute(0, 2, 3, 1).to(torch.uint8).numpy()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Latent means, unscaled: float32, shape (n, 4, 16, 16)."""
    parts = []
    for start in range(0, len(images), batch):
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(to_model_range(images[start : start + batch])).latent_dist
        parts.append(posterior.mean.float())
    return torch.cat(parts)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor, batch: int = 64) -> np.ndarray:
    """Pixels of unscaled latents: uint8, shape (n, 64, 64, 3)."""
    parts = []
    for start in range(0, len(latents), batch):
        with torch.autocast("cpu", torch.bfloat16):
            decoded = vae.decode(latents[start : start + batch]).sample
        parts.append(to_pixels(decoded))
    return np.concatenate(parts)
