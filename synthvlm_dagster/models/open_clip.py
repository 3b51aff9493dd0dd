"""open_clip models: looked at before they are loaded, loaded with their weights' settings, asked for embeddings."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from synthvlm_dagster.errors import ModelError

if TYPE_CHECKING:
    import torch

_HUB = "hf-hub:"
_LOCAL = "local-dir:"
_CONFIG = "open_clip_config.json"
_SAFETENSORS = ".safetensors"
_TOKENIZER_CODE = "trust_remote_code"
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class OpenClip:
    """A loaded open_clip model with its own image transform and tokenizer."""

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device
    dtype: torch.dtype

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """The model's input for an image: resized, cropped and normalized.

        Args:
            image: uint8 of shape (height, width, 3), sRGB.

        Returns:
            float32 of shape (3, side, side), on the CPU.
        """
        return self.preprocess(Image.fromarray(image))

    def embed_images(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Unit embeddings of one batch of prepared images: float64 of shape (len(prepared), embedding size)."""
        import torch

        # cuDNN would compute the convolution that cuts an image into patches with the 10 bits of TF32.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return _unit_rows(self.model.encode_image(torch.stack(list(prepared)).to(self.device, self.dtype)))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit embeddings of one batch of texts: float64 of shape (len(texts), embedding size).

        Texts longer than the model's context (77 tokens for OpenAI's models) are truncated.
        """
        import torch

        with torch.inference_mode():
            return _unit_rows(self.model.encode_text(self.tokenize(list(texts)).to(self.device)))


def load_open_clip(model: str, pretrained: str | None, dtype: str, device: torch.device, field: str) -> OpenClip:
    """Load an open_clip model for inference.

    Args:
        model: architecture, hub model (hf-hub:…) or folder.
        pretrained: weights tag or file of an architecture; None for hub models and folders.
        dtype: `float32`, `float16` or `bfloat16`.
        device: where the model is to be.
        field: the recipe's section that names the model, for errors.

    Raises:
        ModelError: as `check_open_clip`; or the weights cannot be fetched or read.
    """
    import open_clip
    import torch

    check_open_clip(model, pretrained, field)
    name = f"{_LOCAL}{model}" if _is_folder_name(model) and not model.startswith(_LOCAL) else model
    try:
        if model.startswith(_HUB):
            _refuse_tokenizer_code(_hub_config(model.removeprefix(_HUB)), model, field)
        loaded, _, preprocess = open_clip.create_model_and_transforms(
            name,
            pretrained=pretrained,
            precision=_PRECISIONS[dtype],
            device=device,
            force_quick_gelu=_weights_expect_quick_gelu(model, pretrained),
            require_pretrained=True,
            # Of old weights that open_clip's list or a hub model has as .pt or .bin alone: tensors, and nothing that
            # runs when it is loaded.
            weights_only=True,
        )
        tokenize = open_clip.get_tokenizer(name)
    except ModelError:
        raise
    except Exception as error:  # weight files and configurations of any origin fail in any way
        raise ModelError(
            f"{field}.model: {model if pretrained is None else f'{model} ({pretrained})'} cannot be loaded: "
            f"{_first_line(error)}. Weights that are not on this machine need the network, once; or name a model folder"
        ) from error
    return OpenClip(loaded.eval(), preprocess, tokenize, device, getattr(torch, dtype))


def check_open_clip(model: str, pretrained: str | None, field: str) -> None:
    """Refuse, without network, a CLIP model that cannot be loaded whatever happens.

    Hub models are not looked up: whether they exist is known when they are loaded.

    Args:
        model: architecture, hub model (hf-hub:…) or folder.
        pretrained: weights tag or file of an architecture; None for hub models and folders.
        field: the recipe's section that names the model, for errors.

    Raises:
        ModelError: the folder is missing or holds no open_clip model, or open_clip knows no such architecture or
            pretrained tag; names the nearest known ones.
    """
    if model.startswith(_HUB):
        return
    if _is_folder_name(model):
        _check_folder(Path(model.removeprefix(_LOCAL)), field)
        return
    import open_clip

    known = open_clip.list_models()
    if model not in known:
        raise ModelError(
            f"{field}.model: open_clip has no architecture {model}. {_nearest(model, known)}"
            f"Name an architecture, a hub model ({_HUB}…) or a folder"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None:
        raise ModelError(
            f"{field}.pretrained: is required for the architecture {model}, which would otherwise start from "
            f"random weights. Known are {', '.join(tags) or 'none; give a weight file'}"
        )
    if open_clip.pretrained.is_pretrained_cfg(model, pretrained):
        return
    if not Path(pretrained).is_file():
        raise ModelError(
            f"{field}.pretrained: {model} has no weights {pretrained}. "
            f"{_nearest(pretrained, tags)}Known are {', '.join(tags) or 'none'}; a weight file works too"
        )
    if not pretrained.endswith(_SAFETENSORS):
        raise ModelError(f"{field}.pretrained: {_only_safetensors(pretrained)}")


def _check_folder(folder: Path, field: str) -> None:
    if not folder.is_dir():
        raise ModelError(f"{field}.model: {folder}: no such model folder. Correct the path in the recipe")
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{field}.model: {folder}: is not an open_clip model: it has no {_CONFIG}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{field}.model: {folder / _CONFIG}: cannot be read: {error}") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise ModelError(f"{field}.model: {folder / _CONFIG}: has no model_cfg, the model's architecture")
    _refuse_tokenizer_code(config, str(folder), field)
    files = sorted(file.name for file in folder.iterdir())
    if not any(name.endswith(_SAFETENSORS) for name in files):
        pickled = next((name for name in files if name.endswith((".bin", ".pth", ".pt"))), None)
        reason = _only_safetensors(pickled) if pickled else f"holds no weights (*{_SAFETENSORS})"
        raise ModelError(f"{field}.model: {folder}: {reason}")


def _hub_config(identifier: str) -> Any:
    from huggingface_hub import hf_hub_download

    return json.loads(Path(hf_hub_download(identifier, _CONFIG)).read_text(encoding="utf-8"))


def _refuse_tokenizer_code(config: Any, model: str, field: str) -> None:
    """A model's configuration can ask transformers to run the code of a tokenizer's repository."""
    model_config = config.get("model_cfg") if isinstance(config, dict) else None
    text = model_config.get("text_cfg") if isinstance(model_config, dict) else None
    settings = text.get("tokenizer_kwargs") if isinstance(text, dict) else None
    if settings and (not isinstance(settings, dict) or settings.get(_TOKENIZER_CODE)):
        raise ModelError(
            f"{field}.model: {model}: its {_CONFIG} asks for a tokenizer that brings code of its own "
            f"({_TOKENIZER_CODE}), which is never run. Name another model"
        )


def _only_safetensors(file: str) -> str:
    return (
        f"{file} is pickled, which can run code when loaded. Convert it with torch.load(..., weights_only=True) and "
        "safetensors.torch.save_file, and name that file"
    )


def _is_folder_name(model: str) -> bool:
    return model.startswith(_LOCAL) or Path(model).is_absolute() or Path(model).is_dir()


def _weights_expect_quick_gelu(model: str, pretrained: str | None) -> bool:
    """Whether the weights were trained with QuickGELU: open_clip only warns when the architecture says otherwise."""
    import open_clip

    if pretrained is None:
        return False
    return bool(open_clip.pretrained.get_pretrained_cfg(model, pretrained).get("quick_gelu"))


def _unit_rows(features: torch.Tensor) -> np.ndarray:
    rows = features.double().cpu().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {', '.join(near)}? " if near else ""
