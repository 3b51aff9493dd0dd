"""Short names for settings and models: equal settings, equal name."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from synthvlm_dagster.errors import ModelError

_BLOCK = 1 << 20


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

    A folder is read whole, so that a model trained again in place gets a new identity; its place does not matter.

    Raises:
        ModelError: `model` is written as a path, and nothing is there.
    """
    path = Path(model)
    if not path.exists():
        if path.is_absolute():
            raise ModelError(f"{model}: no such model folder. Correct the model's path in the recipe")
        return f"{model}@{revision or 'main'}"
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stamps = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return f"{path.name}#{_content_digest(path, stamps)}"


@lru_cache(maxsize=16)
def _content_digest(path: Path, stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """Digest of the files' names and content; sizes and times of change tell the cache when to read again."""
    digest = hashlib.blake2b(digest_size=8)
    for file, _, _ in stamps:
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
