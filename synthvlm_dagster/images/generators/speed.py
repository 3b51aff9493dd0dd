"""What makes a loaded model faster and leaves its pictures as they are, up to numerical noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synthvlm_dagster.recipe import Generation

if TYPE_CHECKING:
    from synthvlm_dagster.images.generators.family import Family


def speed_up(family: Family, generation: Generation) -> None:
    """Fuse and compile the denoisers of a family's pipelines, as the recipe asks.

    A UNet is compiled whole and laid out channels-last, as its convolutions want it; of a transformer only the blocks
    are compiled, which takes a fraction of the time because they all share one graph. Shapes are static: every batch
    size gets its own graph. LoRA weights must have been fused before.
    """
    import torch

    for pipeline in family.pipelines:
        unet, transformer = getattr(pipeline, "unet", None), getattr(pipeline, "transformer", None)
        if generation.fuse_qkv:
            _fuse_qkv(unet or transformer)
        if not generation.compile:
            continue
        if unet is not None:
            unet.to(memory_format=torch.channels_last)
            unet.compile(dynamic=False)
        elif transformer is not None:
            _compile_blocks(transformer)


def _fuse_qkv(denoiser: Any) -> None:
    if hasattr(denoiser, "fuse_qkv_projections"):
        denoiser.fuse_qkv_projections()


def _compile_blocks(transformer: Any) -> None:
    if transformer._repeated_blocks:
        transformer.compile_repeated_blocks(dynamic=False)
        return
    import torch

    for blocks in transformer.children():
        if isinstance(blocks, torch.nn.ModuleList):
            for block in blocks:
                block.compile(dynamic=False)
