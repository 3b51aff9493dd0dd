"""What is wrong with captions in the wild, written about the small world: one function per fault.

Each function takes a random generator and returns one faulty caption; called often enough it returns many different
ones. The two kinds of near duplicates change a given caption instead.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from synthvlm_dagster.demo import world

Choice = TypeVar("Choice")


def advertisement(rng: np.random.Generator) -> str:
    """Someone sells shapes, or something else, instead of describing a picture."""
    template = _one_of(
        rng,
        (
            "Buy 2 get 1 FREE on all {colour} {shape} stickers!!! Shop now at www.shape-outlet.example",
            "{percent}% OFF {size} {colour} {shape} wall art - free shipping worldwide, order today",
            "Best price on {colour} {shape} cookie cutters, only ${price}.99 | fast delivery | 30-day returns",
            "Click here to win a {size} {colour} {shape} >>> www.win-a-shape.example <<<",
            "$$$ SALE $$$ {COLOUR} {SHAPE} $$$ {percent}% OFF $$$ LAST CHANCE $$$ ONLY ${price} $$$ !!!!!!",
            "Download {number}+ {colour} {shape} vectors, royalty-free stock images and icons for your next project",
            "Subscribe to our newsletter for weekly {shape} patterns and save {percent}% on your first order!",
            "*** HOT DEAL *** {colour} {shape} phone case, was ${number}.99, now ${price}.99 *** ORDER NOW ***",
            "Call 1-800-555-0{number} for your free {colour} {shape} sample, no obligation, offer ends soon",
            "Follow us for more {colour} {shape} designs #{colour} #{shape} #design #{size}{shape} #sale #shapelovers",
            "Add to cart: {size} {colour} {shape} cushion cover, {price} in stock, ships within 24 hours",
        ),
    )
    thing = _one_of(rng, world.ALL_OBJECTS)
    return template.format(
        colour=thing.colour,
        shape=thing.shape,
        size=thing.size,
        COLOUR=thing.colour.upper(),
        SHAPE=thing.shape.upper(),
        percent=int(rng.integers(2, 16)) * 5,
        price=int(rng.integers(3, 30)),
        number=int(rng.integers(100, 200)),
    )


def gibberish(rng: np.random.Generator) -> str:
    """Letters, symbols or bytes without meaning."""
    kind = _one_of(rng, ("letters", "keyboard", "symbols", "mojibake", "file name", "base64"))
    if kind == "letters":
        lengths = rng.integers(3, 9, size=rng.integers(6, 12))
        return " ".join("".join(rng.choice(list("bcdfghjklmnpqrstvwxz"), size=length)) for length in lengths)
    if kind == "keyboard":
        runs = ("asdf", "jkl;", "qwer", "uiop", "zxcv", "hjhj", "lkj", "dsa", "fghf", ";lk", "wqe", "nmb,")
        return " ".join("".join(rng.choice(runs, size=rng.integers(2, 5))) for _ in range(rng.integers(4, 8)))
    if kind == "symbols":
        return "".join(rng.choice(list("#$%&*@!?~^+=|<>/\\_-:;. "), size=rng.integers(40, 90)))
    if kind == "mojibake":
        text = f"“{_sentence(rng)}” — “très «{_one_of(rng, world.ALL_OBJECTS)}»” …"
        for _ in range(2):
            text = text.encode("utf-8").decode("cp1252", errors="replace")
        return text
    if kind == "file name":
        date, time = rng.integers(20100101, 20251231), rng.integers(100000, 235959)
        return f"IMG_{date}_{time}_HDR~{rng.integers(1, 99)}.jpg DSC{rng.integers(10000, 99999)}.JPG"
    return base64.b64encode(rng.bytes(int(rng.integers(36, 60)))).decode("ascii")


def repeated_phrase(rng: np.random.Generator) -> str:
    """One phrase, over and over."""
    thing = _one_of(rng, world.ALL_OBJECTS)
    times = int(rng.integers(5, 10))
    kind = _one_of(rng, ("list", "run-on", "short run", "sentence", "stutter", "tail"))
    if kind == "list":
        return ", ".join([f"a {thing}"] * times)
    if kind == "run-on":
        return " ".join([f"{thing.colour} {thing.shape}"] * (2 * times))
    if kind == "short run":
        return " ".join([f"{thing.colour} {thing.shape}"] * (times // 2 + 1))
    if kind == "sentence":
        return " ".join([_sentence(rng)] * max(3, times // 2))
    if kind == "stutter":
        return f"A {' '.join(['very'] * 2 * times)} {thing} on a plain white background."
    return _sentence(rng) + f" with a {thing}" * times


def other_language(rng: np.random.Generator) -> str:
    """A good description, but not in English."""
    template, words = _one_of(rng, _LANGUAGES)
    return template.format(**{slot: _one_of(rng, choices) for slot, choices in words.items()})


def markup(rng: np.random.Generator) -> str:
    """The page's source around the caption, or an address instead of it."""
    template = _one_of(
        rng,
        (
            "<p>{sentence}</p>",
            '<a href="https://shapes.example/{number}"><img src="/img/{number}.png" alt="{thing}"></a>',
            '<div class="caption"><span style="color:{colour}"><b>{thing}</b></span><br/></div>',
            "![{thing}](https://shapes.example/img/{number}.png)",
            "## {thing} ## **{colour}** | *{shape}* | [more](https://shapes.example/{number})",
            "&lt;b&gt;{size}&nbsp;{colour}&nbsp;{shape}&lt;/b&gt;&nbsp;&amp;&nbsp;&#8230;",
            "https://cdn.shapes.example/img/{number}/{colour}-{shape}.jpg?w=640&h=480&fit=crop",
            "[[File:{colour} {shape} {number}.svg|thumb|200px|{sentence}]]",
            "{{{{Infobox shape | name = {shape} | colour = {colour} | id = {number} }}}}",
            "{sentence} <br><br> [url=https://shapes.example/{number}]source[/url]",
        ),
    )
    thing = _one_of(rng, world.ALL_OBJECTS)
    return template.format(
        sentence=_sentence(rng),
        thing=thing,
        size=thing.size,
        colour=thing.colour,
        shape=thing.shape,
        number=int(rng.integers(100, 1000)),
    )


def too_short(rng: np.random.Generator) -> str:
    """One to three words, which name but do not describe."""
    template = _one_of(
        rng,
        (
            "{shape}",
            "{colour} {shape}",
            "a {shape}.",
            "{size} {shape}",
            "image {number}",
            "Untitled {number}",
            "{ground}",
        ),
    )
    thing = _one_of(rng, world.ALL_OBJECTS)
    return template.format(
        shape=thing.shape,
        colour=thing.colour,
        size=thing.size,
        number=int(rng.integers(1, 100)),
        ground=_one_of(rng, world.BACKGROUNDS),
    )


def not_about_the_world(rng: np.random.Generator) -> str:
    """An ordinary photo caption, in good English, about things that this world does not have."""
    who = _one_of(
        rng,
        ("A young woman", "An old man", "A small child", "A tourist", "A farmer", "A street musician", "My neighbour"),
    )
    doing = _one_of(
        rng,
        (
            "waiting for the bus in heavy rain",
            "walking a dog along the beach at sunset",
            "sitting at a wooden table with a cup of coffee",
            "looking out over a mountain lake",
            "riding a bicycle through the old town",
            "buying vegetables at a crowded market",
            "reading a newspaper on a park bench",
            "taking pictures of the cathedral",
        ),
    )
    what = _one_of(
        rng, ("A plate of pasta", "A sleeping cat", "A vase of tulips", "An open suitcase", "A stack of books")
    )
    where = _one_of(
        rng,
        (
            "on the kitchen counter",
            "beside a sunny window",
            "in the back of a pickup truck",
            "under the Christmas tree",
        ),
    )
    return f"{who} {doing}." if rng.random() < 0.7 else f"{what} {where}."


def flagged_word(rng: np.random.Generator) -> str:
    """A description with a rude word in it."""
    template = _one_of(
        rng,
        (
            "A {colour} {shape} that looks like a butt on a {ground} background.",
            "A damn sexy {size} {colour} {shape} on a {ground} background.",
            "This {size} {colour} {shape} is a bastard to draw on a {ground} background.",
            "What a load of bollocks, just a {size} {colour} {shape} on a {ground} background.",
        ),
    )
    thing = _one_of(rng, world.ALL_OBJECTS)
    ground = _one_of(rng, world.BACKGROUNDS)
    return template.format(colour=thing.colour, shape=thing.shape, size=thing.size, ground=ground)


def changed_form(caption: str, rng: np.random.Generator) -> str:
    """The same words in other case, punctuation or spacing."""
    changes: tuple[Callable[[str], str], ...] = (
        lambda text: text.upper(),
        lambda text: text.lower().rstrip("."),
        lambda text: text.title().rstrip("."),
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace(" ", "\u00a0"),
        lambda text: text.rstrip(".") + " !!!",
        lambda text: text.rstrip(".") + " ...",
        lambda text: f"“{text}”",
        lambda text: f" {text.lower()} ",
        lambda text: text.replace(" on a ", ", on a ").replace(",,", ",").rstrip(".") + "!",
    )
    changed = caption
    while changed == caption:
        changed = _one_of(rng, changes)(caption)
    return changed


def changed_word(caption: str, rng: np.random.Generator) -> str:
    """The same sentence with one word replaced by a synonym."""
    synonyms = (("background", "backdrop"), ("large", "big"), ("large", "huge"), ("small", "little"), ("small", "tiny"))
    fitting = [(word, synonym) for word, synonym in synonyms if word in caption]
    word, synonym = _one_of(rng, fitting)
    return caption.replace(word, synonym, 1)


def _sentence(rng: np.random.Generator) -> str:
    return world.write_caption(world.sample_scene(rng, 1), rng)


def _one_of(rng: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(rng.integers(len(choices)))]


_LANGUAGES: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    (
        "Ein {size} {colour} {shape} auf {ground} Hintergrund.",
        {
            "size": ("großes", "kleines"),
            "colour": ("rotes", "gelbes", "grünes", "blaues", "violettes"),
            "shape": ("Quadrat", "Dreieck", "Kreuz"),
            "ground": ("gestreiftem", "gepunktetem", "kariertem", "weißem", "grauem"),
        },
    ),
    (
        "Un {size} {shape} {colour} sur un fond {ground}.",
        {
            "size": ("grand", "petit"),
            "shape": ("cercle", "carré", "triangle"),
            "colour": ("rouge", "orange", "jaune", "vert", "bleu", "violet"),
            "ground": ("blanc", "gris", "rayé", "à pois", "à damier"),
        },
    ),
    (
        "Un {shape} {size} de color {colour} sobre un fondo {ground}.",
        {
            "shape": ("círculo", "cuadrado", "triángulo"),
            "size": ("grande", "pequeño"),
            "colour": ("rojo", "naranja", "amarillo", "verde", "azul", "morado"),
            "ground": ("blanco", "gris", "a rayas", "de lunares", "a cuadros"),
        },
    ),
    (
        "Un {size} {shape} {colour} su uno sfondo {ground}.",
        {
            "size": ("grande", "piccolo"),
            "shape": ("cerchio", "quadrato", "triangolo"),
            "colour": ("rosso", "arancione", "giallo", "verde", "blu", "viola"),
            "ground": ("bianco", "grigio", "a righe", "a pois", "a scacchi"),
        },
    ),
    (
        "Een {size} {colour} {shape} op een {ground} achtergrond.",
        {
            "size": ("grote", "kleine"),
            "colour": ("rode", "oranje", "gele", "groene", "blauwe", "paarse"),
            "shape": ("cirkel", "driehoek"),
            "ground": ("witte", "grijze", "gestreepte", "gestippelde", "geruite"),
        },
    ),
    (
        "{size} {colour} {shape} на {ground} фоне.",
        {
            "size": ("Большой", "Маленький"),
            "colour": ("красный", "оранжевый", "жёлтый", "зелёный", "синий", "фиолетовый"),
            "shape": ("круг", "квадрат", "треугольник", "крест"),
            "ground": ("белом", "сером", "полосатом", "клетчатом"),
        },
    ),
    (
        "{ground}背景上有一个{size}{colour}{shape}。",
        {
            "ground": ("白色", "灰色", "条纹", "圆点", "棋盘格"),
            "size": ("大的", "小的"),
            "colour": ("红色", "橙色", "黄色", "绿色", "蓝色", "紫色"),
            "shape": ("圆形", "正方形", "三角形", "十字形"),
        },
    ),
    (
        "{ground}の背景に{size}{colour}{shape}があります。",
        {
            "ground": ("白", "灰色", "縞模様", "水玉模様", "市松模様"),
            "size": ("大きな", "小さな"),
            "colour": ("赤い", "オレンジ色の", "黄色い", "緑の", "青い", "紫の"),
            "shape": ("円", "正方形", "三角形", "十字"),
        },
    ),
)
