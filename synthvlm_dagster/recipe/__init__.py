"""The recipe: one validated object that says what to build, read from YAML."""

from synthvlm_dagster.recipe.attempts import Attempts
from synthvlm_dagster.recipe.clip import ClipScoring
from synthvlm_dagster.recipe.curation import Curation, CurationRules
from synthvlm_dagster.recipe.generation import (
    ContentCredentials,
    Generation,
    Lora,
    Quantization,
    Refiner,
    Scheduler,
    Vae,
)
from synthvlm_dagster.recipe.judges import JUDGE_SETTINGS
from synthvlm_dagster.recipe.loading import (
    RECIPE_FILE,
    RECIPES_FOLDER,
    load_recipe,
    packaged_recipes,
    parse_recipe,
    recipe_of,
)
from synthvlm_dagster.recipe.model import Recipe
from synthvlm_dagster.recipe.operations import Operations
from synthvlm_dagster.recipe.operations.clock import Clock
from synthvlm_dagster.recipe.operations.freshness import Freshness
from synthvlm_dagster.recipe.operations.regeneration import Regeneration
from synthvlm_dagster.recipe.report import ComparisonDataset, ReportPage
from synthvlm_dagster.recipe.rule import Bounds
from synthvlm_dagster.recipe.rules.duplicates import Duplicates
from synthvlm_dagster.recipe.rules.image_text_matching import ImageTextMatching
from synthvlm_dagster.recipe.rules.image_text_similarity import ImageTextSimilarity
from synthvlm_dagster.recipe.rules.judge import LlmJudge
from synthvlm_dagster.recipe.rules.keep_top import KeepTop
from synthvlm_dagster.recipe.rules.language import Language
from synthvlm_dagster.recipe.rules.perplexity import CausalLm, KenLm, Perplexity
from synthvlm_dagster.recipe.scoring import Judges, Scoring, SsimScoring
from synthvlm_dagster.recipe.selection import Audit, Disagreement, NearDuplicates, Quotas, Selection
from synthvlm_dagster.recipe.sources import CaptionSource, SourceColumns

__all__ = [
    "JUDGE_SETTINGS",
    "RECIPES_FOLDER",
    "RECIPE_FILE",
    "Attempts",
    "Audit",
    "Bounds",
    "CaptionSource",
    "CausalLm",
    "ClipScoring",
    "Clock",
    "ComparisonDataset",
    "ContentCredentials",
    "Curation",
    "CurationRules",
    "Disagreement",
    "Duplicates",
    "Freshness",
    "Generation",
    "ImageTextMatching",
    "ImageTextSimilarity",
    "Judges",
    "KeepTop",
    "KenLm",
    "Language",
    "LlmJudge",
    "Lora",
    "NearDuplicates",
    "Operations",
    "Perplexity",
    "Quantization",
    "Quotas",
    "Recipe",
    "Refiner",
    "Regeneration",
    "ReportPage",
    "Scheduler",
    "Scoring",
    "Selection",
    "SourceColumns",
    "SsimScoring",
    "Vae",
    "load_recipe",
    "packaged_recipes",
    "parse_recipe",
    "recipe_of",
]
