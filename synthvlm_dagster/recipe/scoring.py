"""How images are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from synthvlm_dagster.recipe.clip import ClipScoring
from synthvlm_dagster.recipe.judges import JUDGE_SETTINGS
from synthvlm_dagster.recipe.section import Section

Channels = Literal["gray", "rgb"]
Window = Literal["uniform", "gaussian"]
"""Names of the windows of `scores.ssim_windows`."""


class SsimScoring(Section):
    """Structural similarity of an image with itself after a round trip through a smaller size (SynthVLM, eq. 3)."""

    reduced_size: int | None = Field(
        None,
        ge=7,
        le=8192,
        description="Side in pixels of the small square; null: 336/1024 of the images' shorter side, which for the "
        "paper's 1024 pixels is 336, LLaVA's vision tower.",
    )
    channels: Channels = Field("gray", description="Compare luma, or the mean over R, G and B.")
    window: Window = Field(
        "uniform",
        description="Windows that are compared: 7×7 pixels alike (scikit-image's default, which gives the paper's "
        "figures), or 11×11 under a Gaussian of 1.5 pixels (Wang et al., 2004).",
    )


class _Judges(Section):
    """Held-out judges: measures that selection does not optimise, by which it can be audited. All off by default."""

    @property
    def on(self) -> dict[str, Any]:
        """The sections of the judges that are on, by name, in the order of their columns."""
        return {name: section for name in JUDGE_SETTINGS if (section := getattr(self, name)) is not None}

    @property
    def configured(self) -> tuple[str, ...]:
        """Names of the judges that are on, in order."""
        return tuple(self.on)

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns of the judges that are on, e.g. `("siglip_score", "vqa_score")`."""
        return tuple(JUDGE_SETTINGS[name].column for name in self.on)


if TYPE_CHECKING:

    class Judges(_Judges):
        """See `_Judges`."""

        def __init__(self, **judges: Any) -> None: ...

else:
    Judges = create_model(
        "Judges",
        __base__=_Judges,
        __module__=__name__,
        __doc__=_Judges.__doc__,
        **{
            name: (judge.section | None, Field(None, description=f"Gives {judge.column}: {judge.measures}."))
            for name, judge in JUDGE_SETTINGS.items()
        },
    )


class Scoring(Section):
    """How each generated image is measured (SynthVLM §3.3)."""

    clip: ClipScoring = Field(default_factory=ClipScoring)
    ssim: SsimScoring = Field(default_factory=SsimScoring)
    judges: Judges = Field(default_factory=Judges)
    batch_size: int = Field(64, ge=1, le=65_536, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")
