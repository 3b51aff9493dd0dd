"""The recipe: one validated object that says what to build, read from YAML."""

from synthvlm_dagster.recipe.attempts import Attempts
from synthvlm_dagster.recipe.curation import (
    Bounds,
    CausalLm,
    Curation,
    CurationRules,
    Duplicates,
    ImageTextMatching,
    ImageTextSimilarity,
    Judge,
    KeepTop,
    KenLm,
    Language,
    Perplexity,
)
from synthvlm_dagster.recipe.generation import (
    ContentCredentials,
    Generation,
    Lora,
    Quantization,
    Refiner,
    Scheduler,
    Vae,
)
from synthvlm_dagster.recipe.loading import (
    RECIPE_VARIABLE,
    RECIPES_FOLDER,
    active_recipe,
    active_recipe_path,
    load_recipe,
    packaged_recipes,
    parse_recipe,
)
from synthvlm_dagster.recipe.model import Recipe
from synthvlm_dagster.recipe.scoring import ClipScoring, Scoring
from synthvlm_dagster.recipe.selection import Selection
from synthvlm_dagster.recipe.sources import CaptionSource, SourceColumns

__all__ = [
    "RECIPES_FOLDER",
    "RECIPE_VARIABLE",
    "Attempts",
    "Bounds",
    "CaptionSource",
    "CausalLm",
    "ClipScoring",
    "ContentCredentials",
    "Curation",
    "CurationRules",
    "Duplicates",
    "Generation",
    "ImageTextMatching",
    "ImageTextSimilarity",
    "Judge",
    "KeepTop",
    "KenLm",
    "Language",
    "Lora",
    "Perplexity",
    "Quantization",
    "Recipe",
    "Refiner",
    "Scheduler",
    "Scoring",
    "Selection",
    "SourceColumns",
    "Vae",
    "active_recipe",
    "active_recipe_path",
    "load_recipe",
    "packaged_recipes",
    "parse_recipe",
]
