"""The generator's denoiser: SDXL's UNet in small, trained on latents with frozen text encoders.

v-prediction on a schedule whose last step is pure noise (Lin et al., arXiv:2305.08891, §3.1-3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from synthvlm_dagster.demo.training.clip import EMBEDDING, tokenize
from synthvlm_dagster.demo.training.group_norm import use_fast_group_norm
from synthvlm_dagster.demo.training.loop import Budget, Trainer
from synthvlm_dagster.demo.training.muon import Muon
from synthvlm_dagster.demo.training.pool import Pool
from synthvlm_dagster.demo.training.vae import encode

BATCH = 48
MUON_LEARNING_RATE = 0.02
ADAM_LEARNING_RATE = 2e-3
CONDITIONING_DROPOUT = 0.1
OBJECT_WEIGHT = 3.0
"""How much more an error counts where an object is, or next to it."""

TEXT_WIDTH = 64 + 128
TIME_ID_WIDTH = 32
TIME_IDS = (64, 64, 0, 0, 64, 64)
"""SDXL's micro-conditioning at 64×64: original size, crop corner, target size."""

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def build_unet(channels: tuple[int, int, int] = (48, 80, 112)) -> UNet2DConditionModel:
    """An untrained UNet with SDXL's kinds of conditioning: tokens by cross-attention, the pooled text by FiLM."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=len(TIME_IDS) * TIME_ID_WIDTH + EMBEDDING,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )


def build_scheduler() -> EulerDiscreteScheduler:
    """The sampler that goes with the training: Euler steps, starting from pure noise."""
    return EulerDiscreteScheduler(**SCHEDULE)


@dataclass(frozen=True)
class Latents:
    """The pool as the UNet sees it.

    Attributes:
        latents: float16, shape (n, 4, 16, 16), each channel with mean 0 and standard deviation 1.
        weights: float16, shape (n, 1, 16, 16); how much an error counts, 1 on average.
        tokens: float16, shape (n, 32, 192); both text encoders' next-to-last hidden states.
        pooled: float16, shape (n, 128); text encoder 2's projected embedding.
    """

    latents: torch.Tensor
    weights: torch.Tensor
    tokens: torch.Tensor
    pooled: torch.Tensor

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.latents)


@torch.no_grad()
def embed_texts(
    texts: list[str],
    tokenizer: CLIPTokenizer,
    encoder_1: CLIPTextModel,
    encoder_2: CLIPTextModelWithProjection,
    batch: int = 256,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What SDXL's pipeline makes of texts: float16 hidden states (n, 32, 192) and pooled embeddings (n, 128)."""
    tokens, pooled = [], []
    for start in range(0, len(texts), batch):
        ids = tokenize(tokenizer, texts[start : start + batch])
        first = encoder_1(ids, output_hidden_states=True)
        second = encoder_2(ids, output_hidden_states=True)
        tokens.append(torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1).half())
        pooled.append(second.text_embeds.half())
    return torch.cat(tokens), torch.cat(pooled)


def normalise_latents(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Unscaled latents (n, 4, 16, 16) with the VAE's `latents_mean` and `latents_std` taken out."""
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1)
    return (latents - mean) / std


def prepare_latents(pool: Pool, vae: AutoencoderKL, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The pool's latents and error weights, float16; kept in `folder`."""
    path = folder / "latents.pt"
    if not path.exists():
        latents = normalise_latents(vae, encode(vae, pool.images)).half()
        torch.save(latents, path)
    latents = torch.load(path, weights_only=True)
    weights = 1 + (OBJECT_WEIGHT - 1) * torch.from_numpy(pool.object_cover).unsqueeze(1)
    return latents, weights / weights.float().mean().half()


def train_unet(data: Latents, folder: Path, budget: Budget, seed: int) -> UNet2DConditionModel:
    """Train on precomputed latents and text embeddings; nothing but the UNet runs here."""
    torch.manual_seed(seed)
    unet = build_unet().to(memory_format=torch.channels_last)
    use_fast_group_norm(unet)
    unet.set_attn_processor(AttnProcessor())
    matrices, rest = _split_parameters(unet)
    optimizers = [
        Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=ADAM_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    trainer = Trainer(unet, optimizers, folder / "unet.pt", budget, seed, average_decay=0.9985)
    alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod
    time_ids = torch.tensor(TIME_IDS, dtype=torch.float32).repeat(BATCH, 1)

    def losses(rng: np.random.Generator) -> dict[str, torch.Tensor]:
        rows = torch.from_numpy(rng.integers(len(data), size=BATCH))
        times = torch.from_numpy(sample_timesteps(rng, BATCH))
        kept = torch.from_numpy(rng.random(BATCH) >= CONDITIONING_DROPOUT).float()
        noise = torch.from_numpy(rng.standard_normal((BATCH, 4, 16, 16), dtype=np.float32))
        clean = data.latents[rows].float()
        signal = alphas[times].sqrt().view(-1, 1, 1, 1)
        spread = (1 - alphas[times]).sqrt().view(-1, 1, 1, 1)
        noisy = (signal * clean + spread * noise).to(memory_format=torch.channels_last)
        velocity = signal * noise - spread * clean
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(
                noisy,
                times,
                data.tokens[rows].float() * kept.view(-1, 1, 1),
                added_cond_kwargs={
                    "text_embeds": data.pooled[rows].float() * kept.view(-1, 1),
                    "time_ids": time_ids,
                },
            ).sample
        return {"velocity": (data.weights[rows].float() * (predicted.float() - velocity).square()).mean()}

    trainer.train(losses, log_every=100)
    return averaged_unet(trainer)


def averaged_unet(trainer: Trainer[Any]) -> UNet2DConditionModel:
    """The averaged weights in a plain UNet, as they are exported."""
    unet = build_unet()
    unet.load_state_dict(trainer.averaged.state_dict())
    return unet.eval()


def sample_timesteps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise levels 0 to 999: a third evenly, the others more often in the upper middle, where shapes are decided."""
    even = rng.random(count)
    middle = 1 / (1 + np.exp(-rng.normal(0.5, 1.0, count)))
    chosen = np.where(rng.random(count) < 1 / 3, even, middle)
    return np.minimum((chosen * 1000).astype(np.int64), 999)


def _split_parameters(unet: UNet2DConditionModel) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    outer = ("conv_in.", "conv_out.", "time_embedding.", "add_embedding.")
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in unet.named_parameters():
        is_inner_matrix = parameter.dim() > 1 and not name.startswith(outer)
        (matrices if is_inner_matrix else rest).append(parameter)
    return matrices, rest
