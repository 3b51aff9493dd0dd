"""CLIPScore: the cosine of an image and its caption under an open_clip model (arXiv 2104.08718)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from synthvlm_dagster.devices import usable_device
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.recipe import ClipScoring

if TYPE_CHECKING:
    import torch

_HUB = "hf-hub:"
_LOCAL = "local-dir:"
_CONFIG = "open_clip_config.json"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth")
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class ClipScorer:
    """An open_clip model that scores images against captions; loaded when the first score is asked for."""

    def __init__(self, clip: ClipScoring, device: str = "auto") -> None:
        """
        Args:
            clip: model, weights, prompt prefix and precision.
            device: torch device; `auto` takes cuda when there is one, else cpu.
        """
        self.clip = clip
        self.device = device

    def clip_scores(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Cosine of each image with its caption behind the prompt prefix, clipped at 0.

        The raw cosine, without the factor 2.5 of arXiv 2104.08718. Captions longer than the model's context (77 tokens
        for OpenAI's models) are truncated; a caption given several times is encoded once.

        Args:
            images: uint8 arrays of shape (height, width, 3), sRGB, of any size: one batch.
            captions: one text per image.

        Returns:
            float64 of shape (len(images),), in [0, 1].

        Raises:
            ModelError: the model cannot be loaded.
            ValueError: the two lists differ in length.
        """
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images but {len(captions)} captions")
        if not images:
            return np.empty(0)
        import torch

        model, preprocess, tokenize, device = self._loaded
        distinct = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        of_image = [distinct[caption] for caption in captions]
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        tokens = tokenize([self.clip.prompt_prefix + caption for caption in distinct])
        with torch.inference_mode():
            seen = model.encode_image(pixels.to(device, getattr(torch, self.clip.dtype)))
            told = model.encode_text(tokens.to(device))
        seen, told = (_unit_rows(features) for features in (seen, told))
        return np.clip((seen * told[of_image]).sum(axis=1), 0.0, 1.0)

    @cached_property
    def _loaded(self) -> _LoadedClip:
        import open_clip

        check_model(self.clip)
        name = _open_clip_name(self.clip)
        device = usable_device(self.device, "scoring.device")
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(
                name,
                pretrained=self.clip.pretrained,
                precision=_PRECISIONS[self.clip.dtype],
                device=device,
                force_quick_gelu=_weights_expect_quick_gelu(self.clip),
                require_pretrained=True,
            )
            tokenize = open_clip.get_tokenizer(name)
        except Exception as error:  # weight files and configurations of any origin fail in any way
            raise ModelError(_why_not_loaded(self.clip, error)) from error
        return _LoadedClip(model.eval(), preprocess, tokenize, device)


class _LoadedClip(NamedTuple):
    model: Any
    preprocess: Any
    tokenize: Any
    device: torch.device


def check_model(clip: ClipScoring) -> None:
    """Refuse, without network, a CLIP model that cannot be loaded whatever happens.

    Hub models are not looked up: whether they exist is known when they are loaded.

    Raises:
        ModelError: the folder is missing or holds no open_clip model, or open_clip knows no such architecture or
            pretrained tag; names the nearest known ones.
    """
    if clip.model.startswith(_HUB):
        return
    if _is_folder_name(clip.model):
        _check_folder(Path(clip.model.removeprefix(_LOCAL)))
        return
    import open_clip

    known = open_clip.list_models()
    if clip.model not in known:
        raise ModelError(
            f"scoring.clip.model: open_clip has no architecture {clip.model}. {_nearest(clip.model, known)}"
            f"Name an architecture, a hub model ({_HUB}…) or a folder"
        )
    tags = open_clip.list_pretrained_tags_by_model(clip.model)
    if clip.pretrained is None:
        raise ModelError(
            f"scoring.clip.pretrained: is required for the architecture {clip.model}, which would otherwise start from "
            f"random weights. Known are {', '.join(tags) or 'none; give a weight file'}"
        )
    is_known_tag = open_clip.pretrained.is_pretrained_cfg(clip.model, clip.pretrained)
    if not is_known_tag and not Path(clip.pretrained).is_file():
        raise ModelError(
            f"scoring.clip.pretrained: {clip.model} has no weights {clip.pretrained}. "
            f"{_nearest(clip.pretrained, tags)}Known are {', '.join(tags) or 'none'}; a weight file works too"
        )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"scoring.clip.model: {folder}: no such model folder. Correct the path in the recipe")
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"scoring.clip.model: {folder}: is not an open_clip model: it has no {_CONFIG}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"scoring.clip.model: {folder / _CONFIG}: cannot be read: {error}") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise ModelError(f"scoring.clip.model: {folder / _CONFIG}: has no model_cfg, the model's architecture")
    if not any(file.suffix in _WEIGHT_SUFFIXES for file in folder.iterdir()):
        raise ModelError(
            f"scoring.clip.model: {folder}: holds no weights ({', '.join('*' + suffix for suffix in _WEIGHT_SUFFIXES)})"
        )


def _is_folder_name(model: str) -> bool:
    return model.startswith(_LOCAL) or Path(model).is_absolute() or Path(model).is_dir()


def _open_clip_name(clip: ClipScoring) -> str:
    if _is_folder_name(clip.model) and not clip.model.startswith(_LOCAL):
        return f"{_LOCAL}{clip.model}"
    return clip.model


def _weights_expect_quick_gelu(clip: ClipScoring) -> bool:
    """Whether the weights were trained with QuickGELU: open_clip only warns when the architecture says otherwise."""
    import open_clip

    if clip.pretrained is None:
        return False
    return bool(open_clip.pretrained.get_pretrained_cfg(clip.model, clip.pretrained).get("quick_gelu"))


def _unit_rows(features: torch.Tensor) -> np.ndarray:
    rows = features.double().cpu().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _why_not_loaded(clip: ClipScoring, error: Exception) -> str:
    model = clip.model if clip.pretrained is None else f"{clip.model} ({clip.pretrained})"
    return (
        f"scoring.clip.model: {model} cannot be loaded: {_first_line(error)}. Weights that are not on this machine "
        "need the network, once; or name a model folder"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {', '.join(near)}? " if near else ""
