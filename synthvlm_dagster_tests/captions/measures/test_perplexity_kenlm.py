"""KenLM perplexity against KenLM's own scores, against an ARPA file's numbers by hand, and with broken models."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_dagster.captions.measures.kenlm_perplexity import KenLmPerplexity
from synthvlm_dagster.captions.measures.perplexity import perplexity_measure
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.recipe import Curation, KenLm, Perplexity
from synthvlm_dagster_tests.captions.measures.language import (
    as_captions,
    measured,
    sentences,
    shuffled,
    train_kenlm,
    train_sentencepiece,
    write_arpa,
)

kenlm = pytest.importorskip("kenlm")
sentencepiece = pytest.importorskip("sentencepiece")

WRAPPED = str(Curation.model_fields["text_template"].default)
COCO = Path(__file__).parents[4] / "shared/data/captions/coco_captions_val2017.json.gz"
ODD_TEXTS = [
    "",
    " ",
    "\n",
    "a red circle\nbeside a blue one",
    "a\u2028b\x85c\x0bd",
    "A RED CIRCLE",
    "é İ Σ 漢字 😀 \u00a0",
    "<s> </s> <unk> <image>",
    "▁▁ ▁a",
    "a\tb  c",
    "circle " * 500,
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> KenLm:
    return train_kenlm(tmp_path_factory.mktemp("kenlm"))


@pytest.fixture(scope="module")
def measure(models: KenLm) -> KenLmPerplexity:
    return KenLmPerplexity(models)


@pytest.fixture(scope="module")
def plain(models: KenLm) -> Callable[[str], float]:
    """The formula, piece by piece over KenLM's states; not rounded."""
    return plain_perplexity(models)


def plain_perplexity(models: KenLm) -> Callable[[str], float]:
    model = kenlm.Model(models.model)
    cutter = sentencepiece.SentencePieceProcessor(model_file=models.sentencepiece)

    def perplexity(text: str) -> float:
        log10, count = 0.0, 0
        for line in " ".join(cutter.encode_as_pieces(text)).splitlines():
            state, following = kenlm.State(), kenlm.State()
            model.BeginSentenceWrite(state)
            for piece in [*line.split(), "</s>"]:
                log10 += model.BaseScore(state, piece, following)
                count += 1
                state, following = following, state
        return 10 ** (-log10 / count) if count else 0.0

    return perplexity


def rounded(values: Iterable[float]) -> object:
    """Equal to the values rounded to a decimal; KenLM adds up in float32, `plain` in float64."""
    return pytest.approx(list(values), rel=1e-4, abs=0.0501)


def test_the_counted_model_is_a_distribution_after_every_history(models: KenLm) -> None:
    """What the other tests stand on: the ARPA file's back-off weights are right."""
    model = kenlm.Model(models.model)
    arpa = Path(models.model).read_text(encoding="utf-8")
    unigrams = arpa.split("\\1-grams:\n")[1].split("\n\n")[0].splitlines()
    words = [line.split("\t")[1] for line in unigrams if "\t<s>" not in line]
    for history in [(), ("▁",), ("▁a",), ("▁small", "▁red"), ("never", "seen")]:
        state, following = kenlm.State(), kenlm.State()
        model.BeginSentenceWrite(state)
        for word in history:
            model.BaseScore(state, word, following)
            state, following = following, state
        assert sum(10 ** model.BaseScore(state, word, following) for word in words) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("template", [None, WRAPPED])
def test_is_the_formula_over_kenlms_scores(models: KenLm, plain: Callable[[str], float], template: str | None) -> None:
    texts = [*sentences(40, seed=1), *map(shuffled, sentences(40, seed=2)), *ODD_TEXTS]
    values = measured(KenLmPerplexity(models, template), texts)["value"].to_list()
    assert values == rounded(plain((template or "{caption}").replace("{caption}", text)) for text in texts)
    assert values == [round(value, 1) for value in values]


@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_any_text_is_measured(measure: KenLmPerplexity, plain: Callable[[str], float], text: str) -> None:
    assert measured(measure, [text])["value"].to_list() == rounded([plain(text)])


def test_is_what_an_arpa_file_says_by_hand(tmp_path: Path) -> None:
    """A bigram of its own, a bigram by back-off, and an unknown word."""
    pieces = train_sentencepiece(tmp_path / "words.model", ["red dog", "dog red"] * 9, model_type="word", vocab_size=5)
    arpa = tmp_path / "tiny.arpa"
    arpa.write_text(
        "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-2.0\t<unk>\n-99\t<s>\t-0.25\n-1.0\t</s>\n"
        "-0.5\t▁red\t-0.125\n-0.75\t▁dog\t-0.5\n\n\\2-grams:\n-0.1\t<s> ▁red\n-0.2\t▁red ▁dog\n\n\\end\\\n",
        encoding="utf-8",
    )
    measure = KenLmPerplexity(KenLm(model=str(arpa), sentencepiece=str(pieces)))
    by_hand = {
        # p(red | start) p(dog | red) backoff(dog) p(end)
        "red dog": -0.1 - 0.2 - 0.5 - 1.0,
        # backoff(start) p(dog) backoff(dog) p(red) backoff(red) p(end)
        "dog red": -0.25 - 0.75 - 0.5 - 0.5 - 0.125 - 1.0,
        # p(red | start) backoff(red) p(unknown) p(end): an unknown word has no back-off weight
        "red cat": -0.1 - 0.125 - 2.0 - 1.0,
    }
    values = measured(measure, by_hand)["value"].to_list()
    assert values == [round(10 ** (-log10 / 3), 1) for log10 in by_hand.values()]
    assert values == [4.0, 11.0, 11.9]


def test_lines_that_sentencepiece_keeps_are_sentences_of_their_own(tmp_path: Path) -> None:
    pieces = train_sentencepiece(
        tmp_path / "lines.model",
        ["red dog", "dog red"] * 9,
        normalization_rule_name="identity",
        user_defined_symbols=["\n"],
        model_type="char",
    )
    cut = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).encode(["red", "dog"], out_type=str)
    models = KenLm(
        model=str(write_arpa(tmp_path / "lines.arpa", [tuple(line) for line in cut])), sentencepiece=str(pieces)
    )
    one, other, both = measured(KenLmPerplexity(models), ["red", "dog", "red\n▁dog"])["value"]
    assert one == other == both


def test_the_wrapping_stays_in_the_captions_line(models: KenLm) -> None:
    """SentencePiece's usual normalization makes the template's line break a space."""
    caption = sentences(1)[0]
    values = measured(
        KenLmPerplexity(models), [f"<image>\n{caption} <|__dj__eoc|>", f"<image> {caption} <|__dj__eoc|>"]
    )
    assert values["value"].n_unique() == 1


def test_english_is_less_surprising_than_its_words_in_another_order(models: KenLm) -> None:
    english = sentences(100, seed=3)
    right = measured(KenLmPerplexity(models), english)["value"]
    wrong = measured(KenLmPerplexity(models), map(shuffled, english))["value"]
    assert (right < wrong).mean() >= 0.95
    assert right.median() < wrong.median() / 3


def test_a_null_character_is_a_space_to_kenlm(measure: KenLmPerplexity) -> None:
    assert measured(measure, ["\0", "a red\0circle"])["value"].min() >= 1


def test_empty_text_has_perplexity_0(models: KenLm) -> None:
    assert measured(KenLmPerplexity(models), ["", "  "])["value"].to_list() == [0.0, 0.0]


def test_millions_come_in_parts(models: KenLm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthvlm_dagster.captions.measures.kenlm_perplexity._CAPTIONS_AT_A_TIME", 8)
    texts = sentences(20)
    frames = KenLmPerplexity(models).measure(as_captions(texts), lambda _: None)
    assert [frame.height for frame in frames] == [8, 8, 4]


def test_the_rule_names_the_measure(models: KenLm) -> None:
    measure = perplexity_measure(Perplexity(kenlm=models), WRAPPED)
    assert measure.name == "perplexity"
    assert not measure.extras
    assert measure.identity == KenLmPerplexity(models, WRAPPED).identity


def test_identity_changes_with_the_models_contents_and_the_template(models: KenLm, tmp_path: Path) -> None:
    identity = KenLmPerplexity(models).identity
    assert KenLmPerplexity(models, "{caption}").identity == identity
    moved = {}
    for name in ("model", "sentencepiece"):
        file = Path(getattr(models, name))
        moved[name] = tmp_path / file.name
        moved[name].write_bytes(file.read_bytes())
    copy = KenLm(**{name: str(file) for name, file in moved.items()})
    assert KenLmPerplexity(copy).identity == identity
    assert KenLmPerplexity(copy.model_copy(update={"model": f"file://{copy.model}"})).identity == identity
    assert KenLmPerplexity(copy, WRAPPED).identity != identity
    moved["model"].write_bytes(moved["model"].read_bytes() + b"\n")
    assert KenLmPerplexity(copy).identity != identity


def test_models_at_urls_are_fetched_once(models: KenLm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remote = fsspec.filesystem("memory")
    remote.pipe({f"/kenlm/{name}": Path(getattr(models, name)).read_bytes() for name in ("model", "sentencepiece")})
    urls = KenLm(model="memory://kenlm/model", sentencepiece="memory://kenlm/sentencepiece")
    texts = sentences(3)
    expected = measured(KenLmPerplexity(models), texts)
    assert measured(KenLmPerplexity(urls), texts).equals(expected)
    remote.rm("/kenlm", recursive=True)
    assert measured(KenLmPerplexity(urls), texts).equals(expected)
    gone = urls.model_copy(update={"model": "memory://kenlm/gone"})
    with pytest.raises(ModelError, match=r"kenlm\.model: memory://kenlm/gone: cannot be fetched"):
        measured(KenLmPerplexity(gone), texts)


@pytest.mark.parametrize("field", ["model", "sentencepiece"])
def test_missing_files_are_named(models: KenLm, tmp_path: Path, field: str) -> None:
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ModelError, match=rf"curation\.rules\.perplexity\.kenlm\.{field}: .*: no such file"):
            KenLmPerplexity(models.model_copy(update={field: str(place)}))


@pytest.mark.parametrize("field", ["model", "sentencepiece"])
@pytest.mark.parametrize("content", [b"", b"\xff\xf8\x00" * 900, b'{"a": 1}\n' * 100, "cut off"])
def test_corrupt_models_are_refused(models: KenLm, tmp_path: Path, field: str, content: bytes | str) -> None:
    whole = Path(getattr(models, field)).read_bytes()
    corrupt = tmp_path / "corrupt"
    corrupt.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    measure = KenLmPerplexity(models.model_copy(update={field: str(corrupt)}))
    with pytest.raises(ModelError, match=rf"curation\.rules\.perplexity\.kenlm\.{field}: {corrupt}: is no ") as caught:
        measured(measure, ["a red circle"])
    assert len(str(caught.value)) < 800


def test_models_that_do_not_belong_together_are_refused(models: KenLm, tmp_path: Path) -> None:
    of_words = write_arpa(tmp_path / "words.arpa", [tuple(line.split()) for line in sentences(50)])
    with pytest.raises(ModelError, match="knows none of the pieces"):
        measured(KenLmPerplexity(models.model_copy(update={"model": str(of_words)})), ["a red circle"])


@pytest.mark.parametrize("package", ["kenlm", "sentencepiece"])
def test_the_missing_extra_is_named(models: KenLm, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=rf"needs {package}: pip install 'synthvlm_dagster\[perplexity\]'"):
        KenLmPerplexity(models)


@pytest.mark.skipif(not COCO.exists(), reason="needs ../shared/data/captions")
def test_captions_of_people_against_the_formula(tmp_path: Path) -> None:
    with gzip.open(COCO) as file:
        texts = [annotation["caption"] for annotation in json.load(file)["annotations"]]
    pieces = train_sentencepiece(tmp_path / "coco.model", texts[:2000], vocab_size=1000)
    cut = sentencepiece.SentencePieceProcessor(model_file=str(pieces)).encode(texts[:2000], out_type=str)
    arpa = write_arpa(tmp_path / "coco.arpa", [tuple(line) for line in cut])
    models = KenLm(model=str(arpa), sentencepiece=str(pieces))
    sample = texts[2000:2030]
    plain = plain_perplexity(models)
    values = measured(KenLmPerplexity(models, WRAPPED), sample)["value"].to_list()
    assert values == rounded(plain(WRAPPED.replace("{caption}", text)) for text in sample)


def test_a_model_replaced_before_it_was_loaded_measures_nothing(models: KenLm, tmp_path: Path) -> None:
    ngrams = Path(shutil.copy(models.model, tmp_path))
    measure = KenLmPerplexity(KenLm(model=str(ngrams), sentencepiece=models.sentencepiece))
    ngrams.write_bytes(ngrams.read_bytes() + b"\n")
    with pytest.raises(ModelError, match=r"perplexity.*: its files have been changed"):
        measured(measure, ["a circle"])
