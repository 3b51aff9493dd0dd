"""A second image-text model as a held-out judge: SigLIP (arXiv 2303.15343), or any other of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthvlm_dagster.recipe.judges.siglip import SiglipJudge
from synthvlm_dagster.scores.clip import ClipScorer, check_model
from synthvlm_dagster.scores.judge import HeldOutJudge

if TYPE_CHECKING:
    import torch

_FIELD = "scoring.judges.siglip"


class SiglipScore:
    """Cosine of image and caption, in [-1, 1]; a `JudgeModel`.

    SigLIP's own probability is a sigmoid of it, which keeps the order and leaves hardly any differences near 0 and 1.
    """

    def __init__(self, judge: SiglipJudge, device: str) -> None:
        self.model = judge.model
        self._scorer = ClipScorer(judge, device, clipped=False, field=_FIELD)

    def load(self) -> None:
        """See `JudgeModel`."""
        self._scorer.load()

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """See `JudgeModel`."""
        return self._scorer.prepare(image)

    def score(self, prepared: Sequence[torch.Tensor], captions: Sequence[str]) -> np.ndarray:
        """See `JudgeModel`."""
        return self._scorer.score(prepared, captions).scores


def check_siglip(judge: SiglipJudge) -> None:
    """Refuse, without network, a model that cannot be loaded whatever happens.

    Raises:
        ModelError: see `check_model`.
    """
    check_model(judge, _FIELD)


JUDGE = HeldOutJudge("siglip", SiglipScore, check_siglip)
