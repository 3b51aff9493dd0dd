"""The recipe: one validated object that says what to build, read from YAML."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.locations import resolve_location
from synthvlm_dagster.recipe_mistakes import explain_mistakes

RECIPES_FOLDER = Path(__file__).parent / "recipes"
RECIPE_VARIABLE = "SYNTHVLM_RECIPE"
STORAGE_VARIABLE = "SYNTHVLM_STORAGE"


class Section(BaseModel):
    """A strict, immutable part of the recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceColumns(Section):
    """Which columns (or JSON fields) of a table-like source hold what."""

    text: str = Field("caption", description="Column that holds the caption.")
    image: str | None = Field(None, description="Column that holds the path or URL of the original image, if any.")
    clip_similarity: str | None = Field(
        None, description="Column that holds the caption's CLIP similarity with its original image, in [-1, 1], if any."
    )


class CaptionSource(Section):
    """One set of caption files in one format."""

    name: str = Field(description="Short name; part of every caption's identity.", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    path: str = Field(
        description="File, glob or any fsspec URL; `package://module/path` for files inside an installed package. "
        "Relative paths start at the recipe's folder. `.gz` and `.zst` files are decompressed."
    )
    format: Literal["auto", "llava", "synthvlm", "coco", "partiprompts", "tsv", "csv", "jsonl", "txt", "parquet"] = (
        Field("auto", description="Layout of the files; `auto` looks at the file name and its first bytes.")
    )
    header: bool = Field(True, description="csv and tsv: the first line names the columns.")
    columns: SourceColumns = Field(
        default_factory=SourceColumns,
        description="csv, tsv, jsonl, parquet: column names. For files without header: `column_1`, `column_2` …",
    )
    limit: int | None = Field(None, gt=0, description="Read only the first so many captions of this source.")


class Bounds(Section):
    """A closed interval in which a measured statistic must lie for the caption to be kept."""

    min: float | None = Field(None, description="Smallest value kept.")
    max: float | None = Field(None, description="Largest value kept.")

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no caption could be kept")
        return self


class CurationRules(Section):
    """Bounds of each text statistic; defaults are Table 1 of SynthVLM's supplementary material (arXiv 2407.20756).

    A rule set to null is switched off.
    """

    alnum_ratio: Bounds | None = Field(
        Bounds(min=0.60), description="Share of code points that are letters or digits, in [0, 1]."
    )
    special_char_ratio: Bounds | None = Field(
        Bounds(min=0.16534802, max=0.42023757),
        description="Share of punctuation, digits, whitespace, emoji and symbols, in [0, 1].",
    )
    char_rep_ratio: Bounds | None = Field(
        Bounds(max=0.09373663), description="Share of the most repeated character 10-grams, in [0, 1]."
    )
    word_rep_ratio: Bounds | None = Field(
        Bounds(max=0.03085751), description="Share of repeated word 10-grams, in [0, 1]."
    )
    flagged_words_ratio: Bounds | None = Field(
        Bounds(max=0.0), description="Share of words on the flagged-words list, in [0, 1]."
    )
    text_length: Bounds | None = Field(None, description="Length of the caption in code points (no template).")
    num_words: Bounds | None = Field(None, description="Number of words of the caption (no template).")


class Curation(Section):
    """Which captions are worth an image (SynthVLM §3.1)."""

    text_template: str = Field(
        "<image>\n{caption} <|__dj__eoc|>",
        description="The text that the ratio rules measure; the paper's thresholds were set on Data-Juicer's "
        "multimodal wrapping of a caption. `{caption}` measures the bare caption.",
    )
    rules: CurationRules = Field(default_factory=CurationRules)
    flagged_words: str | None = Field(
        None, description="File or URL of flagged words, one a line or a JSON list; null: the built-in English list."
    )
    duplicates: Literal["exact", "keep"] = Field(
        "exact",
        description="`exact`: of captions equal after Unicode, case, punctuation and space folding keep the first.",
    )

    @field_validator("text_template")
    @classmethod
    def _holds_the_caption(cls, template: str) -> str:
        if "{caption}" not in template:
            raise ValueError("must contain {caption}, the place where the caption goes")
        return template


class Attempts(Section):
    """How many images each caption gets to begin with."""

    per_caption: int = Field(1, ge=1, le=99, description="Images generated per caption, each from its own seed.")
    max_captions: int | None = Field(
        None, gt=0, description="Synthesize only so many of the curated captions (a stable pseudo-random choice)."
    )


class Scheduler(Section):
    """A diffusers scheduler put in the place of the model's own."""

    name: str = Field(description="Class name in diffusers, e.g. DPMSolverMultistepScheduler.")
    config: dict[str, Any] = Field(default_factory=dict, description="Settings changed from the model's scheduler.")


class Refiner(Section):
    """A second SDXL model that takes over the end of the denoising."""

    model: str = Field(description="Hub id or folder of a StableDiffusionXLImg2ImgPipeline.")
    revision: str | None = Field(None, description="Hub revision (commit hash or tag).")
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    handover: float = Field(
        0.8, gt=0, lt=1, description="Share of the steps done by the base model (`denoising_end`/`denoising_start`)."
    )


class Generation(Section):
    """The diffusion model and its parameters, under diffusers' names (SynthVLM §3.2)."""

    model: str = Field(description="Hub id, folder, or `package://module/path` of a diffusers text-to-image pipeline.")
    revision: str | None = Field(
        None, description="Hub revision (commit hash or tag); pin it to make images repeatable."
    )
    variant: str | None = Field(None, description="Weight file variant, e.g. fp16.")
    refiner: Refiner | None = Field(None, description="SDXL refiner; null: the base model does every step.")
    scheduler: Scheduler | None = Field(None, description="null: the scheduler the model comes with.")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float = Field(5.0, ge=0, le=100, description="Classifier-free guidance scale; ≤ 1 switches it off.")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="Rescaling of the guided noise (arXiv 2305.08891).")
    negative_prompt: str | None = Field(None, description="What the image should not show; null: the empty prompt.")
    width: int = Field(1024, ge=8, multiple_of=8, description="Image width in pixels.")
    height: int = Field(1024, ge=8, multiple_of=8, description="Image height in pixels.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float16", description="Precision of weights and maths.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")
    batch_size: int = Field(8, ge=1, le=1024, description="Images denoised together.")
    images_per_chunk: int = Field(
        256, ge=1, description="Images written to the store at a time: what a kill can cost at most."
    )
    image_format: Literal["png", "jpeg", "webp"] = Field("jpeg", description="How images are stored.")
    image_quality: int = Field(95, ge=1, le=100, description="jpeg and webp quality.")
    licence: str | None = Field(None, description="Licence of the model, stated in what is published.")


class ClipScoring(Section):
    """The CLIP model that measures how well an image shows its caption."""

    model: str = Field(
        "ViT-B-32", description="open_clip architecture name, hub model (hf-hub:…), folder, or package://module/path."
    )
    pretrained: str | None = Field("openai", description="open_clip weights tag; null for hub models and folders.")
    prompt_prefix: str = Field("A photo depicts ", description="Text put before each caption (CLIPScore, 2104.08718).")
    dtype: Literal["float32", "float16", "bfloat16"] = Field("float32", description="Precision of the CLIP model.")


class SsimScoring(Section):
    """Structural similarity of an image with itself after a round trip through a smaller size (SynthVLM, eq. 3)."""

    reduced_size: int = Field(336, ge=7, description="Side in pixels of the small square (336: LLaVA's vision tower).")
    channels: Literal["gray", "rgb"] = Field("gray", description="Compare luma, or the mean over R, G and B.")


class Scoring(Section):
    """How each generated image is measured (SynthVLM §3.3)."""

    clip: ClipScoring = Field(default_factory=ClipScoring)
    ssim: SsimScoring = Field(default_factory=SsimScoring)
    batch_size: int = Field(64, ge=1, description="Images measured together.")
    device: str = Field("auto", description="torch device; `auto` takes cuda when there is one, else cpu.")


class Selection(Section):
    """Which pairs are kept: the best attempt of each caption, then the best overall (SynthVLM §3.3)."""

    strategy: Literal["paper", "clip-only", "ssim-only", "random"] = Field(
        "paper", description="`paper`: CLIPScore + ssim_weight · SSIM; the others are the paper's ablations."
    )
    ssim_weight: float = Field(0.5, ge=0, description="λ of the weighted score; 0.5 gives the paper's 0.79.")
    count: int | None = Field(None, gt=0, description="Pairs kept. Give either count or share.")
    share: float | None = Field(None, gt=0, le=1, description="Share of the scored captions kept, in (0, 1].")

    @model_validator(mode="after")
    def _one_size(self) -> Selection:
        if (self.count is None) == (self.share is None):
            raise ValueError("give exactly one of count (a number of pairs) and share (a part of the scored captions)")
        return self


class LlavaExport(Section):
    """LLaVA's training layout: one JSON of conversations beside a tree of images."""

    image_size: int | None = Field(None, gt=0, description="Resize to this square, in pixels; null: as generated.")


class WebDatasetExport(Section):
    """WebDataset tar shards of KEY.jpg/.txt/.json."""

    pairs_per_tar: int = Field(10_000, gt=0, description="Pairs in one tar file.")


class Exports(Section):
    """What the selected pairs are written out as."""

    llava: LlavaExport = Field(default_factory=LlavaExport)
    webdataset: WebDatasetExport = Field(default_factory=WebDatasetExport)


class Recipe(Section):
    """Everything that decides what the pipeline builds."""

    name: str = Field(description="Short name of the recipe.", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = Field("", description="One sentence for people; shown in the report.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed that every image's own seed is derived from.")
    storage: str = Field(
        "",
        description="Folder or fsspec URL of the tables (s3://, gs://, …). Relative: from the recipe's folder. "
        f"Empty: ${STORAGE_VARIABLE}/<name>, else `storage/<name>` beside the Dagster home.",
    )
    sources: Annotated[tuple[CaptionSource, ...], Field(min_length=1, description="Where captions come from.")]
    shards: int = Field(
        8, ge=1, le=99_999, description="Partitions of images and scores; changing it later moves captions."
    )
    shards_per_run: int = Field(4, ge=1, description="Shards that one Dagster run works on with one model load.")
    curation: Curation = Field(default_factory=Curation)
    attempts: Attempts = Field(default_factory=Attempts)
    generation: Generation
    scoring: Scoring = Field(default_factory=Scoring)
    selection: Selection
    exports: Exports = Field(default_factory=Exports)

    @field_validator("sources")
    @classmethod
    def _distinct_names(cls, sources: tuple[CaptionSource, ...]) -> tuple[CaptionSource, ...]:
        names = [source.name for source in sources]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two sources have the name {', '.join(repeated)}: names must differ")
        return sources

    @property
    def shard_keys(self) -> list[str]:
        """The shards' names, `0000`, `0001` …: the partition keys of images and scores."""
        width = max(4, len(str(self.shards - 1)))
        return [f"{number:0{width}d}" for number in range(self.shards)]


def load_recipe(path: str | Path) -> Recipe:
    """Read and validate a recipe file; relative paths in it become absolute.

    Args:
        path: a YAML file, or the name of a packaged recipe such as `demo`.

    Raises:
        RecipeError: the file is missing, is not YAML, or holds an unknown key or an impossible value; names the file,
            the line and the field.
    """
    file = _recipe_file(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read: {error}") from error
    return parse_recipe(text, file)


def parse_recipe(text: str, file: Path) -> Recipe:
    """Validate the YAML text of a recipe that stands (or would stand) at `file`; see `load_recipe`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: must be a YAML mapping with keys such as name, sources, generation")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(explain_mistakes(error, Recipe, file, node)) from error
    return _with_absolute_locations(recipe, file.resolve().parent)


@cache
def active_recipe() -> Recipe:
    """The recipe that $SYNTHVLM_RECIPE names, or the demo's; read once per process."""
    return load_recipe(active_recipe_path())


def active_recipe_path() -> Path:
    """File of the recipe that $SYNTHVLM_RECIPE names, or of the demo's."""
    return _recipe_file(os.environ.get(RECIPE_VARIABLE) or "demo")


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(file.stem for file in RECIPES_FOLDER.glob("*.yaml"))


def _recipe_file(path: str | Path) -> Path:
    if str(path) in packaged_recipes():
        return RECIPES_FOLDER / f"{path}.yaml"
    file = Path(path).expanduser()
    if not file.is_file():
        raise RecipeError(
            f"{file}: no such recipe. Name a YAML file, or one of the packaged recipes: {', '.join(packaged_recipes())}"
        )
    return file


def _with_absolute_locations(recipe: Recipe, folder: Path) -> Recipe:
    def resolved(section: Any, *fields: str) -> Any:
        changed = {name: resolve_location(getattr(section, name), folder) for name in fields if getattr(section, name)}
        return section.model_copy(update=changed)

    generation = resolved(recipe.generation, "model")
    if generation.refiner:
        generation = generation.model_copy(update={"refiner": resolved(generation.refiner, "model")})
    scoring = recipe.scoring.model_copy(update={"clip": resolved(recipe.scoring.clip, "model")})
    sources = tuple(
        source.model_copy(update={"path": resolve_location(source.path, folder, always=True)})
        for source in recipe.sources
    )
    curation = recipe.curation
    if curation.flagged_words:
        curation = curation.model_copy(
            update={"flagged_words": resolve_location(curation.flagged_words, folder, always=True)}
        )
    storage = resolve_location(recipe.storage, folder, always=True) if recipe.storage else _default_storage(recipe.name)
    return recipe.model_copy(
        update={
            "storage": storage,
            "sources": sources,
            "generation": generation,
            "scoring": scoring,
            "curation": curation,
        }
    )


def _default_storage(name: str) -> str:
    if root := os.environ.get(STORAGE_VARIABLE):
        return resolve_location(root.rstrip("/"), Path.cwd(), always=True) + f"/{name}"
    home = os.environ.get("DAGSTER_HOME")
    beside = Path(home).expanduser().resolve().parent if home else Path.cwd()
    return str(beside / "storage" / name)
