"""Whether the models that a recipe names are on this machine: told without network and without loading weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple


class Availability(NamedTuple):
    """What was seen, and a message for a person; `unknown` is what cannot be told without the network."""

    state: Literal["ok", "unknown"]
    message: str


def models_available(models: Sequence[str]) -> Availability:
    """Whether models, given by folder or hub id, are on this machine; what is not is downloaded on first use."""
    names = ", ".join(models)
    if all(Path(model).exists() for model in models):
        return Availability("ok", names)
    return Availability("unknown", f"{names} (downloaded on first use)")
