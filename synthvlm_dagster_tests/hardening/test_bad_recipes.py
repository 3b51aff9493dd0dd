"""Recipes of people who make mistakes, and of people who mean harm: each is one clear error."""

# ruff: noqa: E501 - tables of cases

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Recipe, load_recipe
from synthvlm_dagster_tests.hardening.damage import damaged, examples
from synthvlm_dagster_tests.smallest_recipe import SMALLEST


def given_as(key: str, *values: str) -> list[str]:
    return [f"{SMALLEST}{key}: {value}\n" for value in values]


def in_generation(*lines: str) -> list[str]:
    return [SMALLEST.replace("org/model", f"org/model\n  {line}") for line in lines]


def in_source(*lines: str) -> list[str]:
    return [SMALLEST.replace("captions.csv", f"captions.csv\n    {line}") for line in lines]


def in_selection(*lines: str) -> list[str]:
    return [SMALLEST.replace("count: 10", f"count: 10\n  {line}") for line in lines]


def count(*values: str) -> list[str]:
    return [SMALLEST.replace("10", value) for value in values]


def path(*values: str) -> list[str]:
    return [SMALLEST.replace("captions.csv", value) for value in values]


def laughs(times: int) -> str:
    """Each line has nine aliases of the line before."""
    first = "l0: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    return first + "".join(f"l{line}: &l{line} [{', '.join([f'*l{line - 1}'] * 9)}]\n" for line in range(1, times))


NO_RECIPE = [
    "", "   \n", "# nothing\n", "- a\n- b\n", "word", "null", "3", "---\n---\n", f"{SMALLEST}---\n{SMALLEST}", f"{SMALLEST}...\nfoo",
    "name: [unclosed", "name: 'unclosed", "name: \"unclosed", "{", "}", "a: b: c", "&a [*a]", "%YAML 9.9\n---\n" + SMALLEST,
    "name", "<html><body>not found</body></html>", "{\"name\": }", "version https://git-lfs.github.com/spec/v1\noid x",
    SMALLEST.replace("  count", "\tcount"), SMALLEST + "name: other\n", SMALLEST.replace("count: 10", "count: 10\n  count: 11"),
    SMALLEST + "generation:\n  model: other/model\n", SMALLEST + "description: *nowhere\n", SMALLEST + "x" * (1 << 20),
]  # fmt: skip

BOMBS = [
    laughs(9) + SMALLEST,
    laughs(9) + SMALLEST + "curation: {order: *l8}\n",
    SMALLEST + "curation: &a {order: [*a]}\n",
    SMALLEST + "comparisons: &c [*c]\n",
    SMALLEST + "description: " + "[" * 5000 + "]" * 5000 + "\n",
    SMALLEST + "description: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n",
    "".join(" " * depth + "a:\n" for depth in range(1500)),
    "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 9)) + SMALLEST,
    "c0: &c0 [x]\n" + "".join(f"c{n}: &c{n} [*c{n - 1}]\n" for n in range(1, 2000)) + SMALLEST,
    SMALLEST + "".join(f"key{number}: 1\n" for number in range(3000)),
]  # fmt: skip

TAGS = given_as(
    "description",
    "!!python/object/apply:os.system ['touch pwned']", "!!python/object/new:os.system ['touch pwned']",
    "!!python/name:os.system", "!!python/module:os", "!unknown x", "!!binary {a: b}", "!!timestamp foo", "!!int foo",
    "!!int ''", "!!bool foo", "!!float foo", "!!set [a]", "!!omap [a]", "!!pairs [a]", "!!map [a]", "!!seq a",
    "!!str {a: b}", "2020-13-45", "2020-01-01T99:99:99", "2020-01-01 00:00:00 +99:99",
)  # fmt: skip

CHARACTERS = [
    *given_as(
        "description", '"\\0"', '"\\x1b[2J"', '"\\ud800"', '"\\UFFFFFFFF"', '"\\U00110000"', "\0", "\x07", "\x1b[2J"
    ),
    *path('"a\\0b"', '"a\\nb\\x07"', '"a\\ud800"'),
    *in_source('separator: "\\0"', 'separator: "\\ud800"', 'separator: ";;"', "separator: ''"),
    *in_generation('negative_prompt: "\\0"', 'licence: "\\x1b]0;x\\x07"', 'device: "\\0"'),
    SMALLEST.replace("org/model", '"org/\\0"'),
    *given_as("storage", '"a\\0b"', '"\\x1b"'),
]

NUMBERS = [
    *count(
        ".nan", ".inf", "-.inf", "-1", "0", "1.5", "ten", "true", "false", "null", "[10]", "{a: 1}", "''", "9" * 5000,
        "9" * 400, "9" * 30, "0x" + "f" * 5000, "0b" + "1" * 10_000, "0" + "7" * 9000, "1:" + ":".join(["59"] * 3000),
        "1e400", "-" + "9" * 400, "2020-01-01", "~",
    ),
    *given_as("seed", "-1", "1.5", "true", "9223372036854775808", "99999999999999999999", "abc", ".nan", "[1]"),
    *given_as("shards", "0", "-3", "100000", "1e9", "1e400", ".inf", "null", "true", "8.5"),
    *given_as("shards_per_run", "0", "1" + "0" * 30, "yes"),
    *given_as(
        "attempts",
        "{per_caption: 0}", "{per_caption: 100}", "{per_caption: .nan}", "{until: .inf, max: 3}", "{until: .nan, max: 3}",
        "{until: 0.3, max: 3, ssim_weight: .inf}", "{until: 0.3, max: 3, budget: .inf}", "{until: true, max: 3}", "5", "[]",
    ),
    *in_generation(
        "width: 8000000000000", "width: 1000000", "width: 100", "width: -8", "height: 8200", "height: true",
        "guidance_scale: .nan", "guidance_scale: -1", "guidance_scale: 1e9", "retries: 1000", "batch_size: 0",
        "batch_size: 1.5", "images_per_chunk: " + "9" * 30, "price_per_gpu_hour: .inf", "price_per_gpu_hour: -1",
        "num_inference_steps: true", "num_inference_steps: 0", "image_quality: 101", "loras: [{model: a/b, scale: .nan}]",
        "refiner: {model: a/b, handover: 1}", "guidance_end: 0", "guidance_rescale: 2",
    ),
    *in_selection(
        "ssim_weight: .inf", "ssim_weight: -1", "ssim_weight: true", "allow_missing: .nan", "allow_missing: 1", "share: 0.1",
    ),
    *[SMALLEST.replace("count: 10", f"share: {value}") for value in (".nan", "0", "-0.1", "1.01", ".inf", "true", "x")],
    *in_source("limit: 0", "limit: " + "9" * 30, "limit: true", "max_bad_share: .nan", "max_bad_share: 2"),
    *given_as("scoring", "{batch_size: 0}", "{batch_size: " + "9" * 30 + "}", "{ssim: {reduced_size: 3}}",
              "{ssim: {reduced_size: 99999999999}}", "{judges: {vqa: {model: a/b, question: x}}}"),
    *given_as("exports", "{huggingface: {megabytes_per_file: .inf}}", "{huggingface: {megabytes_per_file: 0}}",
              "{webdataset: {pairs_per_tar: " + "9" * 30 + "}}", "{llava: {image_size: 99999999}}"),
    *given_as("report", "{gallery_pairs: -1}", "{gallery_pairs: 99999}"),
    *given_as("curation", "{rules: {judge: {base_url: 'http://x', model: a, timeout_seconds: .inf}}}",
              "{rules: {judge: {base_url: 'http://x', model: a, requests_per_minute: .nan}}}",
              "{rules: {num_words: {min: .inf}}}", "{rules: {alnum_ratio: {min: -0.1}}}"),
]  # fmt: skip

NAMES_AND_PLACES = [
    *[SMALLEST.replace("smallest", name) for name in (
        "../escape", "..", "a/b", "/root", "'a\\b'", "A", "''", "' a'", '"a\\n"', "a b", "a" * 101, "1.5", "[a]",
        "'%2e%2e'", "é", "'a\u2028'", "-a", ".hidden",
    )],
    *[SMALLEST.replace("mine", name) for name in ("../up", "a/b", "..", '"a\\0"', "'<b>'", "a" * 200, "null", "3")],
    *path("package://", "package://a..b/x", "package://os.path/x", "package://.x/y", "package://sys/y", "package:///y",
          "zip://*.json::package://nowhere_at_all/x.zip", "~no_such_user_here/x", "[a, b]", "{a: b}", "5", "null"),
    *given_as("storage", "package://os/x", "~no_such_user_here/x", "5", "[a]", "{a: b}"),
    *[SMALLEST.replace("org/model", name) for name in ("~no_such_user_here", "5", "[a]", "null", "b" * 5000)],
    *given_as("exports", "{url: 'javascript:alert(1)'}", "{url: 'http://x\"><script>'}", "{url: 'file:///etc/passwd'}",
              "{licence: 'MIT <b>'}", '{licence: "mit\\n---\\n"}', "{creator: [a]}"),
]  # fmt: skip

KEYS = [
    *[f"{SMALLEST}{key}: 3\n" for key in ("1", "[1, 2]", "~", "true", "2020-01-01", ".nan", "1.5", "''", "__class__", "nam")],
    SMALLEST + "? {a: 1}\n: 2\n",
    SMALLEST.replace("generation:", "generatoin:"),
    *in_generation("models: x", "trust_remote_code: true", "custom_pipeline: evil/code", "preset: nothing", "preset: ../demo"),
    *in_source("trust: x", "columns: caption", "columns: {txt: a}", "header: false\n    column_names: a", "format: pickle"),
    SMALLEST.replace("sources:\n  - name: mine\n    path: captions.csv\n", "sources: []\n"),
    SMALLEST.replace("sources:\n  - name: mine\n    path: captions.csv\n", "sources: captions.csv\n"),
    SMALLEST.replace("  - name: mine\n", "  - name: mine\n    path: other.csv\n  - name: mine\n"),
    SMALLEST.replace("selection:\n  count: 10\n", "selection: 10\n"),
    SMALLEST.replace("generation:\n  model: org/model\n", ""),
    *given_as("curation", "[]", "{order: [nothing]}", "{text_template: x}", "{rules: {language: {keep: [xx-nothing]}}}"),
]  # fmt: skip

BAD = [*NO_RECIPE, *BOMBS, *TAGS, *CHARACTERS, *NUMBERS, *NAMES_AND_PLACES, *KEYS]


def test_bad_recipes_are_many_and_different():
    assert len(set(BAD)) == len(BAD) >= 200


@pytest.mark.parametrize("number", range(len(BAD)))
def test_each_is_one_clear_error(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(BAD[number], encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    told = str(error.value)
    assert all(line.startswith(str(file)) for line in told.splitlines()), told
    assert len(told) < 10_000
    assert all(sign == "\n" or sign.isprintable() for sign in told)
    assert sorted(tmp_path.iterdir()) == [file], "no code was run"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "utf-16-be"])
def test_other_encodings_are_named(tmp_path, encoding):
    file = tmp_path / "recipe.yaml"
    file.write_bytes((SMALLEST + "description: café\n").encode(encoding))
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(file)


def test_a_byte_order_mark_and_windows_lines_are_no_mistake(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(SMALLEST.replace("\n", "\r\n").encode("utf-8-sig"))
    assert load_recipe(file).name == "smallest"


def test_anchors_and_merges_may_be_used(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        SMALLEST.replace("    path: captions.csv", "    <<: &s {path: captions.csv}\n  - {name: two, <<: *s}")
    )
    assert [source.name for source in load_recipe(file).sources] == ["mine", "two"]


def test_spoiled_recipes_are_recipes_or_clear_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried: set[bytes] = set()
    file = tmp_path / "recipe.yaml"

    @examples(200)
    @given(damaged(SMALLEST.encode()))
    def attack(content: bytes) -> None:
        tried.add(content)
        file.write_bytes(content)
        try:
            assert isinstance(load_recipe(file), Recipe)
        except RecipeError as error:
            assert str(error).startswith(str(file))

    attack()
    assert len(tried) >= 80
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_place_that_cannot_be_read_is_told(tmp_path):
    for place in (tmp_path, tmp_path / "nothing.yaml", Path("/dev/null"), tmp_path / ("a" * 300)):
        with pytest.raises(RecipeError):
            load_recipe(place)
