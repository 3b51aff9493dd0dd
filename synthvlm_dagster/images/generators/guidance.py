"""Classifier-free guidance that ends before the last step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def guidance_cutoff(
    share: float, embeddings: Sequence[str]
) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """A `callback_on_step_end` that switches classifier-free guidance off after a share of a pipeline's steps.

    From there on each step costs half, since the unconditional half of the batch is dropped; diffusers documents it as
    dynamic classifier-free guidance (https://huggingface.co/docs/diffusers/using-diffusers/callback). Its own
    `SDXLCFGCutoffCallback` keeps a single image of the batch, therefore this one.

    Args:
        share: of the steps that are guided, in (0, 1]; at least one is.
        embeddings: the pipeline's tensors, [unconditional, conditional] along their first axis, to be halved.
    """

    def at_step_end(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if pipeline.do_classifier_free_guidance and step + 1 >= round(share * pipeline.num_timesteps):
            for name in embeddings:
                tensors[name] = tensors[name].chunk(2)[-1]
            pipeline._guidance_scale = 0.0
        return tensors

    return at_step_end
