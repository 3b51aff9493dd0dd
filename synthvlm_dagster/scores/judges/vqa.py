"""VQAScore (Lin et al., arXiv 2404.01291): the probability that a vision-language model answers "Yes"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.models.devices import usable_device
from synthvlm_dagster.models.quiet import quiet_models
from synthvlm_dagster.models.transformers import check_transformers_model, load_transformers_model
from synthvlm_dagster.recipe.judges.vqa import VqaJudge
from synthvlm_dagster.scores.judge import HeldOutJudge

_FIELD = "scoring.judges.vqa"


class VqaScore:
    """P("Yes" | image, question about the caption), in [0, 1]; a `JudgeModel`.

    The question is put through the model's own chat template, with the image before it. The probability is that of
    the answer's first token, among all tokens, at the place where the model begins to answer (arXiv 2404.01291, eq. 1).
    """

    def __init__(self, judge: VqaJudge, device: str) -> None:
        self.model = judge.model
        self._judge = judge
        self._device = device

    def load(self) -> None:
        """See `JudgeModel`."""
        _ = self._loaded, self._answer_token

    def prepare(self, image: np.ndarray) -> Image.Image:
        """See `JudgeModel`; how the model cuts an image up depends on the text, so this only wraps it."""
        return Image.fromarray(image)

    def score(self, prepared: Sequence[Image.Image], captions: Sequence[str]) -> np.ndarray:
        """See `JudgeModel`."""
        size = self._judge.batch_size
        parts = [
            self._score_batch(prepared[start : start + size], captions[start : start + size])
            for start in range(0, len(prepared), size)
        ]
        return np.concatenate(parts)

    def _score_batch(self, images: Sequence[Image.Image], captions: Sequence[str]) -> np.ndarray:
        import torch

        model, processor = self._loaded
        prompts = [self._prompt(caption) for caption in captions]
        with quiet_models(), torch.inference_mode():
            inputs = processor(text=prompts, images=[[image] for image in images], padding=True, return_tensors="pt")
            answers = model.generate(
                **inputs.to(model.device, model.dtype),
                max_new_tokens=1,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return answers.logits[0].double().softmax(dim=-1)[:, self._answer_token].cpu().numpy()

    def _prompt(self, caption: str) -> str:
        question = self._judge.question.replace("{caption}", caption)
        content = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = self._loaded[1].apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return str(prompt)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        judge = self._judge
        check_vqa(judge)
        device = usable_device(self._device, "scoring.device")
        classes = (AutoModelForImageTextToText, AutoProcessor)
        model, processor = load_transformers_model(
            judge.model, judge.revision, f"{_FIELD}.model", classes, "vision-language model"
        )
        if not getattr(processor, "chat_template", None):
            raise ModelError(
                f"{_FIELD}.model: {judge.model}: has no chat template, by which it could be asked. Use a model that is "
                "tuned to follow instructions"
            )
        tokenizer = processor.tokenizer
        # The answer follows the last place, which must hold the question's end and no padding.
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return model.to(device, getattr(torch, judge.dtype)).eval(), processor

    @cached_property
    def _answer_token(self) -> int:
        tokens = self._loaded[1].tokenizer(self._judge.answer, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise ModelError(f"{_FIELD}.answer: {self._judge.model} has no token for {self._judge.answer!r}")
        return int(tokens[0])


def check_vqa(judge: VqaJudge) -> None:
    """Refuse, without network, a model that cannot be loaded whatever happens.

    Raises:
        ModelError: it is neither a hub id nor a folder with a configuration and safetensors weights.
    """
    check_transformers_model(judge.model, f"{_FIELD}.model")


JUDGE = HeldOutJudge("vqa", VqaScore, check_vqa)
