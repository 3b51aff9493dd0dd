"""Models of transformers: refused without network where they cannot serve, loaded without foreign code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.models.quiet import quiet_models

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Models from before the hub had owners, which it still finds under their first names.
_OWNERLESS = re.compile(r"(distil)?gpt2(-\w+)?|openai-gpt")


def check_transformers_model(model: str, field: str, kind: str | None = None) -> None:
    """Refuse, without network, what cannot be a model of transformers whatever happens; of hub ids, the form.

    Args:
        model: hub id or folder.
        field: the recipe's field that holds it, for errors.
        kind: the `model_type` that its configuration must have; None: any.

    Raises:
        ModelError: it is neither a hub id nor a folder with a configuration of that kind and safetensors weights.
    """
    folder = Path(model)
    if not folder.is_absolute() and not folder.exists():
        if not _HUB_ID.fullmatch(model) and not _OWNERLESS.fullmatch(model):
            raise ModelError(f"{field}: {model}: is neither a folder nor a hub id such as org/model")
        return
    if not folder.is_dir():
        raise ModelError(f"{field}: {folder}: no such model folder. Correct the path in the recipe")
    config = folder / "config.json"
    try:
        found = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{field}: {config}: cannot be read as a model's configuration: {error}") from error
    if kind and found != kind:
        raise ModelError(f"{field}: {folder}: is a model of type {found}, not {kind}")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{field}: {folder}: holds no weights (*.safetensors). Convert others with "
            "save_pretrained(..., safe_serialization=True)"
        )


def load_transformers_model(
    model: str, revision: str | None, field: str, classes: tuple[Any, Any], what: str, **options: Any
) -> tuple[Any, Any]:
    """A model and its tokenizer or processor, from safetensors only and without remote code.

    Args:
        model: hub id or folder.
        revision: hub revision; None: main.
        field: the recipe's field that holds the model, for errors.
        classes: the model's class, and that of its tokenizer or processor.
        what: what the model must be, for errors: `causal language model`.
        options: passed to the model's `from_pretrained`.

    Raises:
        ModelError: it cannot be loaded, or its files lack weights that such a model has.
    """
    model_class, reader_class = classes
    source: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    try:
        with quiet_models():
            loaded, facts = model_class.from_pretrained(
                model, use_safetensors=True, output_loading_info=True, **source, **options
            )
            reader = reader_class.from_pretrained(model, **source)
    except Exception as error:  # weight files and configurations of any origin fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"{field}: {model} cannot be loaded: {reason}. A model that is not on this machine needs the network, "
            "once; or name a model folder"
        ) from error
    # transformers fills what a file lacks with random numbers and only logs it.
    if lost := sorted(set(facts["missing_keys"]) & {name for name, _ in loaded.named_parameters()}):
        others = f" and {len(lost) - 1} others" if lost[1:] else ""
        raise ModelError(f"{field}: {model}: is no {what}: its weights lack {lost[0]}{others}")
    return loaded, reader
