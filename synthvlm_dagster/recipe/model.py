"""The recipe as a whole."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from synthvlm_dagster.recipe.attempts import Attempts
from synthvlm_dagster.recipe.curation import Curation
from synthvlm_dagster.recipe.exports import Exports
from synthvlm_dagster.recipe.generation import Generation
from synthvlm_dagster.recipe.operations import Operations
from synthvlm_dagster.recipe.report import ComparisonDataset, ReportPage
from synthvlm_dagster.recipe.scoring import Scoring
from synthvlm_dagster.recipe.section import NAME, Section
from synthvlm_dagster.recipe.selection import Selection
from synthvlm_dagster.recipe.sources import CaptionSource

STORAGE_VARIABLE = "SYNTHVLM_STORAGE"


class Recipe(Section):
    """Everything that decides what the pipeline builds."""

    name: str = Field(description="Short name of the recipe.", max_length=100, pattern=NAME)
    description: str = Field("", description="One sentence for people; shown in the report.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed that every image's own seed is derived from.")
    storage: str = Field(
        "",
        description="Folder or fsspec URL of the tables (s3://, gs://, …). Relative: from the recipe's folder. "
        f"Empty: ${STORAGE_VARIABLE}/<name>, else `storage/<name>` beside the Dagster home.",
    )
    sources: Annotated[tuple[CaptionSource, ...], Field(min_length=1, description="Where captions come from.")]
    shards: int = Field(
        8,
        ge=1,
        le=99_999,
        description="Partitions of images and scores. Changing it later moves captions to other shards, which "
        "then make their images and scores again.",
    )
    shards_per_run: int = Field(4, ge=1, description="Shards that one Dagster run works on with one model load.")
    curation: Curation = Field(default_factory=Curation)
    attempts: Attempts = Field(default_factory=Attempts)
    generation: Generation
    scoring: Scoring = Field(default_factory=Scoring)
    selection: Selection
    exports: Exports = Field(default_factory=Exports)
    report: ReportPage = Field(default_factory=ReportPage)
    comparisons: tuple[ComparisonDataset, ...] = Field(
        (), description="Datasets with images whose scores stand beside those of the selected pairs in the report."
    )
    operations: Operations = Field(default_factory=Operations)

    @field_validator("sources", "comparisons")
    @classmethod
    def _distinct_names(cls, sources: tuple[CaptionSource, ...]) -> tuple[CaptionSource, ...]:
        names = [source.name for source in sources]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two have the name {', '.join(repeated)}: names must differ")
        return sources

    @model_validator(mode="after")
    def _auditing_judge_is_on(self) -> Recipe:
        disagreement = self.selection.audit.disagreement
        judges = self.scoring.judges.columns
        if self.selection.strategy == "audited" and disagreement and disagreement.judge not in judges:
            on = f"on are {', '.join(judges)}" if judges else "none is on"
            raise ValueError(
                f"selection.audit.disagreement.judge is {disagreement.judge}, which no judge of scoring.judges "
                f"measures: {on}"
            )
        return self

    @property
    def what_is_built(self) -> dict[str, Any]:
        """The recipe as plain JSON values, without what is only about when and how it runs."""
        return self.model_dump(mode="json", exclude={"operations"})

    @property
    def shard_keys(self) -> list[str]:
        """The shards' names, `0000`, `0001` …: the partition keys of images and scores."""
        width = max(4, len(str(self.shards - 1)))
        return [f"{number:0{width}d}" for number in range(self.shards)]
