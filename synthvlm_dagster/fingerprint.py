"""Short names for settings and models: equal settings, equal name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from synthvlm_dagster.contents import content_of
from synthvlm_dagster.errors import ModelError


def fingerprint(*parts: Any) -> str:
    """Ten hexadecimal digits that change when any of the parts does.

    Args:
        parts: recipe sections, or values that JSON can hold.
    """
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(canonical.encode(), digest_size=5).hexdigest()


def model_identity(model: str, revision: str | None) -> str:
    """What a model's weights are known by: the content of a local folder or file, or hub id and revision.

    A folder's files all count, so that a model trained again in place gets a new identity; its place does not matter.

    Raises:
        ModelError: `model` is written as a path, and nothing is there.
    """
    path = Path(model)
    if not path.exists():
        if path.is_absolute():
            raise ModelError(f"{model}: no such model folder. Correct the model's path in the recipe")
        return f"{model}@{revision or 'main'}"
    return f"{path.name}#{content_of(path)}"
