"""Where captions come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.formats import FORMAT_SETTINGS
from synthvlm_dagster.recipe.section import NAME, Location, Section

# A type checker has no use for a list that it cannot read.
if TYPE_CHECKING:
    CaptionFormat = str
else:
    CaptionFormat = Literal[("auto", *FORMAT_SETTINGS)]

_SETTINGS_OF_FORMATS = frozenset().union(*FORMAT_SETTINGS.values())


class SourceColumns(Section):
    """Which columns (or JSON fields) of a table-like source hold what."""

    text: str = Field("caption", description="Column that holds the caption, or a list of captions.")
    image: str | None = Field(None, description="Column that holds the path or URL of the original image, if any.")
    clip_similarity: str | None = Field(
        None, description="Column that holds the caption's CLIP similarity with its original image, in [-1, 1], if any."
    )
    watermark_score: str | None = Field(
        None, description="Column that holds how likely the original image has a watermark, in [0, 1], if any."
    )
    nsfw_score: str | None = Field(
        None, description="Column that holds how likely the original image is unsafe, in [0, 1], if any."
    )


class CaptionSource(Section):
    """One set of caption files in one format."""

    name: str = Field(description="Short name; part of every caption's identity.", max_length=100, pattern=NAME)
    path: Location = Field(
        description="File, glob or any fsspec URL, for huggingface also a dataset's folder; `package://module/path` "
        "for files inside an installed package. Relative paths start at the recipe's folder. `.gz`, `.zst`, `.bz2` and "
        "`.xz` files are decompressed."
    )
    format: CaptionFormat = Field(
        "auto", description="Layout of the files; `auto` looks at the file name and its first bytes."
    )
    separator: str = Field(
        ",", pattern=r'^[^"\r\n]$', description="csv: the character between two columns, for example ';'."
    )
    header: bool = Field(True, description="csv and tsv: the first line names the columns.")
    column_names: tuple[str, ...] | None = Field(
        None, description="csv and tsv without header: the columns' names, in order; null: column_1, column_2 …"
    )
    columns: SourceColumns | None = Field(
        None,
        description="Columns of csv, tsv, jsonl, parquet, webdataset and huggingface sources, fields of a synthvlm "
        "list; null: those of the format, or `caption`.",
    )
    image_root: Location | None = Field(
        None,
        description="Folder or URL that the images' relative paths start from, and do not leave: a path that would "
        "is no image. null: the caption file's folder.",
    )
    limit: int | None = Field(None, gt=0, description="Read only the first so many rows of this source.")
    max_bad_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the rows that may be unusable before the source is refused, in [0, 1]; null: 0.1, or ten "
        "rows where that is more, but never more than half.",
    )

    @model_validator(mode="after")
    def _names_need_no_header(self) -> CaptionSource:
        if self.column_names and self.header:
            raise ValueError("column_names is for files without header; write header: false beside it")
        return self

    @model_validator(mode="after")
    def _settings_are_of_the_format(self) -> CaptionSource:
        if self.format != "auto" and (unused := self.unused_settings(self.format)):
            raise ValueError(f"{unused}: format {self.format} has no such setting. Remove it, or name another format")
        return self

    def unused_settings(self, layout: str) -> str:
        """Settings of this source that a reader of the format does not look at, with commas between them."""
        return ", ".join(sorted(self.model_fields_set & (_SETTINGS_OF_FORMATS - FORMAT_SETTINGS[layout])))
