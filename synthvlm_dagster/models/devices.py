"""Which torch device a recipe means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.models.gpu_leases import leased_gpu

if TYPE_CHECKING:
    import torch


def usable_device(name: str, field: str) -> torch.device:
    """The device of that name, once something could be placed on it.

    Args:
        name: a torch device such as `cuda:1`, or `auto`: a GPU that no other process has leased, see `gpu_leases`,
            else the cpu.
        field: the recipe's field, for the error.

    Raises:
        RecipeError: torch knows no such device, or cannot use it on this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda", leased_gpu()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{field}: torch cannot use {name!r}: {reason}. Try auto, cpu, cuda or cuda:1") from error
