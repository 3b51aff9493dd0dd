from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import RECIPE_FILE, Recipe, load_recipe, packaged_recipes, parse_recipe
from synthvlm_dagster.recipe.active import RECIPE_VARIABLE, active_recipe_name
from synthvlm_dagster_tests.smallest_recipe import SMALLEST


def parse(text: str, folder: Path = Path("/recipes")) -> Recipe:
    return parse_recipe(text, folder / "recipe.yaml")


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_are_valid(name):
    assert load_recipe(name).shard_keys[0] == "0000"


def test_the_paper_recipe_has_the_settings_of_the_paper():
    recipe = load_recipe("synthvlm-100k")
    assert (recipe.generation.width, recipe.generation.height) == (1024, 1024)
    assert recipe.generation.num_inference_steps == 60
    assert recipe.scoring.clip.model == "ViT-B-32"
    assert recipe.scoring.ssim.reduced_size == 336
    assert (recipe.selection.count, recipe.selection.ssim_weight) == (100_000, 0.5)


def test_relative_paths_start_at_the_recipe_and_hub_ids_stay(tmp_path):
    (tmp_path / "models").mkdir()
    text = SMALLEST.replace("org/model", "models") + "storage: tables\n"
    recipe = parse(text, tmp_path)
    assert recipe.sources[0].path == str(tmp_path / "captions.csv")
    assert recipe.generation.model == str(tmp_path / "models")
    assert recipe.storage == str(tmp_path / "tables")
    assert parse(SMALLEST, tmp_path).generation.model == "org/model"


def test_a_weights_file_beside_the_recipe_is_found_from_everywhere(tmp_path):
    (tmp_path / "weights.pt").touch()
    text = SMALLEST + "scoring: {clip: {pretrained: weights.pt}, judges: {siglip: {pretrained: webli}}}\n"
    scoring = parse(text, tmp_path).scoring
    assert scoring.clip.pretrained == str(tmp_path / "weights.pt")
    assert scoring.judges.siglip.pretrained == "webli"
    assert parse(text).scoring.clip.pretrained == "weights.pt"


def test_storage_defaults_to_a_folder_beside_the_dagster_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SYNTHVLM_STORAGE", raising=False)
    assert parse(SMALLEST).storage == str(tmp_path / "storage" / "smallest")
    monkeypatch.setenv("SYNTHVLM_STORAGE", "s3://bucket/tables/")
    assert parse(SMALLEST).storage == "s3://bucket/tables/smallest"


def test_packages_can_hold_files():
    recipe = parse(SMALLEST.replace("org/model", "package://synthvlm_dagster.demo/models/shapes-sdxl"))
    assert recipe.generation.model.endswith("synthvlm_dagster/demo/models/shapes-sdxl")
    with pytest.raises(RecipeError, match="package nowhere_at_all is not installed"):
        parse(SMALLEST.replace("org/model", "package://nowhere_at_all/models"))


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("  model: org/model", "  model: org/model\n  num_inference_step: 3"), 7, "did you mean num_inference_steps"),
        (("generation:", "generatoin:"), 5, "did you mean generation"),
        (("    path: captions.csv", "    pth: captions.csv"), 4, "did you mean path"),
        (("  count: 10", "  count: ten"), 8, "selection.count"),
        (("  count: 10", "  count: 10\n  share: 0.5"), 7, "exactly one of count"),
        (("  count: 10", "  share: 1.5"), 8, "selection.share"),
        (("name: smallest", "name: ../escape"), 1, "name"),
        (("  model: org/model", "  model: org/model\n  width: 100"), 7, "multiple of 8"),
        (("generation:", "attempts: {min: 1, max: 3}\ngeneration:"), 5, "min, max: nothing without until"),
        (("generation:", "attempts: {until: 0.7}\ngeneration:"), 5, "until needs max"),
        (("generation:", "attempts: {per_caption: 2, max: 3, until: 0.7}\ngeneration:"), 5, "not both"),
        (("generation:", "attempts: {min: 3, max: 3, until: 0.7}\ngeneration:"), 5, "must be more than min, 3"),
        (("generation:", "attempts: {max: 3, until: 0.7, budget: 4}\ngeneration:"), 5, "between min and max"),
    ],
)
def test_mistakes_are_named_with_file_line_and_field(change, line, message):
    with pytest.raises(RecipeError) as error:
        parse(SMALLEST.replace(*change))
    assert f"/recipes/recipe.yaml, line {line}: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("path: captions.csv", "path: a.csv\n    limit: 0"), "sources.0.limit: Input should be greater than 0"),
        (
            ("path: captions.csv", "path: a.csv\n    columns: caption"),
            "sources.0.columns: must be a mapping with keys ",
        ),
        (
            ("path: captions.csv", "path: a.csv\n    header: false\n    column_names: caption"),
            "sources.0.column_names: must be a list",
        ),
    ],
)
def test_a_mistake_in_the_only_source_is_told_once(change, message):
    with pytest.raises(RecipeError) as raised:
        parse(SMALLEST.replace(*change))
    assert len(str(raised.value).splitlines()) == 1
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "must be a YAML mapping"),
        ("name: [unclosed", "not valid YAML"),
        ("", "must be a YAML mapping"),
        (SMALLEST.replace("selection:\n  count: 10\n", ""), "selection: is required but missing"),
        (SMALLEST + "curation: {rules: {alnum_ratio: {min: 0.2, max: 0.1}}}", "no caption could be kept"),
        (SMALLEST + "curation: {rules: {alnum_ratio: {min: 60}}}", "alnum_ratio.min: .* less than or equal to 1"),
        (SMALLEST + "curation: {rules: {num_words: {min: -1}}}", "num_words.min: .* greater than or equal to 0"),
        (SMALLEST + "curation: {rules: {text_length: {max: .nan}}}", "text_length.max: .* finite number"),
        (SMALLEST + "curation: {rules: {image_text_similarity: {min: 1.5}}}", "image_text_similarity.min"),
        (SMALLEST + "curation: {rules: {perplexity: {max: 5500}}}", "perplexity: give exactly one of kenlm"),
        (SMALLEST + "curation: {rules: {keep_top: {share: 0.4}}}", "keep_top ranks by image_text_similarity"),
        (SMALLEST + "curation: {rules: {alnum: {min: 0.6}}}", "did you mean alnum_ratio.* Known are text_length, num_"),
        (SMALLEST + "curation: {order: [alnum]}", "curation.order: there is no rule alnum; rules are text_length"),
        (SMALLEST + "curation: {order: [judge, judge]}", "curation.order: names judge more than once"),
        (SMALLEST + "curation: {text_template: nothing}", "must contain {caption}"),
    ],
)
def test_what_is_no_recipe_is_refused(text, message):
    with pytest.raises(RecipeError, match=message.replace("{", r"\{")):
        parse(text)


def test_an_unknown_recipe_names_those_that_exist():
    with pytest.raises(RecipeError, match=r"no such recipe.*demo"):
        load_recipe("nowhere.yaml")


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_clear_error(text):
    try:
        parse(text)
    except RecipeError as error:
        assert "recipe.yaml" in str(error)


@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "extra"]), st.integers() | st.text() | st.none()))
def test_any_values_are_a_recipe_or_a_clear_error(content):
    import yaml

    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        parse(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("written", "fewest", "most", "in_words"),
    [
        ("{}", 1, 1, "1 for each caption"),
        ("{per_caption: 4}", 4, 4, "4 for each caption"),
        ("{max: 5, until: 0.79}", 1, 5, "1 to 5 for each caption, until CLIPScore + 0.5·SSIM ≥ 0.79"),
        (
            "{min: 2, max: 3, until: 0.3, ssim_weight: 0, budget: 2.5}",
            2,
            3,
            "2 to 3 for each caption, 2.5 on average, until CLIPScore + 0·SSIM ≥ 0.3",
        ),
    ],
)
def test_attempts_are_a_fixed_number_or_as_many_as_it_takes(written, fewest, most, in_words):
    attempts = parse(f"{SMALLEST}attempts: {written}\n").attempts
    assert (attempts.fewest, attempts.most, attempts.in_words) == (fewest, most, in_words)
    assert type(attempts).model_validate_json(attempts.model_dump_json()) == attempts


def test_when_something_runs_changes_nothing_that_is_built():
    scheduled = parse(SMALLEST + "operations: {refresh: {cron: '5 5 * * *'}}")
    assert scheduled != parse(SMALLEST)
    assert scheduled.what_is_built == parse(SMALLEST).what_is_built


def test_a_recipe_in_the_folder_is_the_default_and_the_variable_comes_over_it(tmp_path, monkeypatch):
    monkeypatch.delenv(RECIPE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert active_recipe_name() == "demo"
    (tmp_path / RECIPE_FILE).write_text("name: mine\n")
    assert active_recipe_name() == str(tmp_path / "recipe.yaml")
    monkeypatch.setenv(RECIPE_VARIABLE, "synthvlm-100k")
    assert active_recipe_name() == "synthvlm-100k"
