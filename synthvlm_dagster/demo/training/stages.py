"""The stages of training in their order, each of which leaves its result in the work folder for the next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from synthvlm_dagster.demo.training.clip import TextsAndPictures, text_encoder_2, train_clip, train_texts
from synthvlm_dagster.demo.training.export import export_clip, export_generator
from synthvlm_dagster.demo.training.loop import Budget
from synthvlm_dagster.demo.training.negatives import Negatives, open_negatives
from synthvlm_dagster.demo.training.pool import Pool, open_pool
from synthvlm_dagster.demo.training.tokenizer import build_tokenizer
from synthvlm_dagster.demo.training.unet import Latents, build_unet, embed_texts, prepare_latents, train_unet
from synthvlm_dagster.demo.training.vae import decode, encode, train_vae


@dataclass(frozen=True)
class Workshop:
    """One training run: its folders, its sizes and its budgets.

    Attributes:
        output: the models go to `shapes-sdxl` and `shapes-clip` in here, everything else to `work`.
        budgets: per stage ("vae", "texts", "clip", "unet") how long it trains.
    """

    output: Path
    seed: int
    pool_size: int
    n_negatives: int
    n_decoded: int
    budgets: dict[str, Budget]

    @property
    def work(self) -> Path:
        """Where checkpoints and data are kept."""
        return self.output / "work"

    def vae(self) -> None:
        """Train the autoencoder; leaves `work/vae`."""
        train_vae(self._pool(), self.work, self.budgets["vae"], self.seed).save_pretrained(self.work / "vae")

    def texts(self) -> None:
        """Teach both text encoders to read; leaves `work/texts_final.pt`."""
        trained = train_texts(self.work, self.budgets["texts"], self.seed)
        torch.save(trained.state_dict(), self.work / "texts_final.pt")

    def clip(self) -> None:
        """Teach the CLIP to look; leaves `work/clip_final.pt`."""
        pool = self._pool()
        negatives = open_negatives(self.work, pool, self.n_negatives, self.seed)
        decoded = self._decoded(pool, negatives)
        texts = self._texts_and_pictures("texts_final.pt")
        trained = train_clip(texts, pool, negatives, decoded, self.work, self.budgets["clip"], self.seed)
        torch.save(trained.state_dict(), self.work / "clip_final.pt")

    def unet(self) -> None:
        """Train the denoiser on the frozen rest; leaves `work/unet_final.pt`."""
        trained = train_unet(self._latents(), self.work, self.budgets["unet"], self.seed)
        torch.save(trained.state_dict(), self.work / "unet_final.pt")

    def export(self) -> None:
        """Write the folders that diffusers and open_clip open, with float16 weights, and how long each stage took."""
        unet = build_unet()
        unet.load_state_dict(torch.load(self.work / "unet_final.pt", weights_only=True))
        texts = self._texts_and_pictures("clip_final.pt")
        export_generator(self.output / "shapes-sdxl", self._vae(), unet, texts.clip, texts.text_encoder_1)
        export_clip(self.output / "shapes-clip", texts.clip)
        (self.output / "training.json").write_text(json.dumps(self._effort(), indent=2) + "\n")

    def _effort(self) -> dict[str, dict[str, float]]:
        effort = {}
        for stage in self.budgets:
            checkpoint = torch.load(self.work / f"{stage}.pt", weights_only=True)
            effort[stage] = {"steps": checkpoint["steps"], "seconds": round(checkpoint["seconds"])}
        return effort

    def _pool(self) -> Pool:
        return open_pool(self.work, self.pool_size, self.seed)

    def _vae(self) -> AutoencoderKL:
        return AutoencoderKL.from_pretrained(self.work / "vae").eval()

    def _texts_and_pictures(self, name: str) -> TextsAndPictures:
        trained = TextsAndPictures(build_tokenizer())
        trained.load_state_dict(torch.load(self.work / name, weights_only=True))
        return trained.eval()

    def _decoded(self, pool: Pool, negatives: Negatives) -> dict[str, np.ndarray]:
        vae = self._vae()
        decoded = {}
        pictures = {"true": pool.images, "swapped": negatives.swapped_images, "failed": negatives.failed_images}
        for kind, images in pictures.items():
            path = self.work / f"decoded_{kind}.npy"
            if not path.exists():
                np.save(path, decode(vae, encode(vae, images[: self.n_decoded])))
            decoded[kind] = np.load(path)
        return decoded

    def _latents(self) -> Latents:
        pool = self._pool()
        latents, weights = prepare_latents(pool, self._vae(), self.work)
        texts = self._texts_and_pictures("texts_final.pt")
        tokenizer = build_tokenizer()
        encoder_2 = text_encoder_2(texts.clip, tokenizer)
        tokens, pooled = embed_texts(pool.captions, tokenizer, texts.text_encoder_1, encoder_2)
        return Latents(latents, weights, tokens, pooled)
