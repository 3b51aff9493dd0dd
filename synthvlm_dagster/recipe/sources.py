"""Where captions come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from synthvlm_dagster.recipe.section import Location, Section

CaptionFormat = Literal[
    "auto",
    "llava",
    "synthvlm",
    "coco",
    "sbu",
    "partiprompts",
    "cc3m",
    "cc12m",
    "coyo",
    "laion",
    "laion-coco",
    "datacomp",
    "webdataset",
    "huggingface",
    "tsv",
    "csv",
    "jsonl",
    "txt",
    "parquet",
]


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

    name: str = Field(description="Short name; part of every caption's identity.", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    path: Location = Field(
        description="File, glob or any fsspec URL, for huggingface also a dataset's folder; `package://module/path` "
        "for files inside an installed package. Relative paths start at the recipe's folder. `.gz`, `.zst`, `.bz2` and "
        "`.xz` files are decompressed."
    )
    format: CaptionFormat = Field(
        "auto", description="Layout of the files; `auto` looks at the file name and its first bytes."
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
        None, description="Folder or URL that the images' relative paths start from; null: the caption file's folder."
    )
    limit: int | None = Field(None, gt=0, description="Read only the first so many rows of this source.")
    max_bad_share: float = Field(
        0.1, ge=0, le=1, description="Share of the rows that may be unusable before the source is refused, in [0, 1]."
    )

    @model_validator(mode="after")
    def _names_need_no_header(self) -> CaptionSource:
        if self.column_names and self.header:
            raise ValueError("column_names is for files without header; write header: false beside it")
        return self
