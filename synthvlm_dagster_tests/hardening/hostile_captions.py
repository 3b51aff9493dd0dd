"""Captions that are markup: what they would do if they were read as such, each in a way of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from synthvlm_dagster.captions.assets import caption_assets
from synthvlm_dagster.captions.checks import caption_checks
from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.dataset.checks import dataset_checks
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.dataset.conftest import fill, good_captions

_SUBJECT = "a small red circle on a plain white page, near its edge"
HOSTILE = tuple(
    f"{attack} {_SUBJECT}"
    for attack in (
        "<script>document.title = 'taken'</script>",
        "</script><img src=x onerror=\"document.title = 'taken'\">",
        "</title></style></textarea><svg onload=\"document.title = 'taken'\">",
        "<img src=https://evil.example/pixel.png>",
        "<iframe src=https://evil.example></iframe><base href=https://evil.example/>",
        "![picture](https://evil.example/pixel.png)",
        "[press me](javascript:document.title='taken')",
        "<https://evil.example> https://evil.example www.evil.example mail@evil.example",
        "[1]: https://evil.example [1] [^1]",
        "`code` ``` ~~~",
        "| a | b | | --- | --- |",
        "# title *bold* __bold__ ~~gone~~ - item 1. item > quote",
        "&lt;script&gt; &#60;img src=x&#62; &amp;",
        "\u2028<!-- --><![CDATA[ ]]>\u2029",
        "{{ 7 * 7 }} {% raw %} ${7 * 7} #{7 * 7}",
        "--- license: mit --- ...",
        "' onmouseover='document.title=1' \" onfocus=\"document.title=1\" autofocus",
        "\u202etxet\u202c \ufeff \u200b",
        "$$\\href{javascript:alert(1)}{x}$$ <math><mtext></mtext></math>",
        "=cmd|' /C calc'!A0 @SUM(1) +1 -1",
    )
)
_RULES = {"special_char_ratio": None, "alnum_ratio": None, "char_rep_ratio": None, "word_rep_ratio": None}


class HostileProject:
    """A store whose captions, description and file names are attacks, with every page and every metadata made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings: dict[str, Any] = {
            "name": "hostile",
            "description": HOSTILE[0] + " ![x](https://evil.example/d.png)",
            "storage": str(folder / "store"),
            "sources": [{"name": "given", "path": str(self._captions()), "max_bad_share": 0.9}],
            "shards": 2,
            "curation": {"rules": _RULES, "text_template": "<image>[x](https://evil.example)| {caption} <|__dj__eoc|>"},
            "generation": {
                "model": "maker/<img src=x onerror=alert(1)>",
                "negative_prompt": HOSTILE[5],
                "licence": HOSTILE[6],
                "image_format": "png",
                "width": 64,
                "height": 64,
            },
            "scoring": {"clip": {"model": "hf-hub:maker/judge", "pretrained": None, "prompt_prefix": HOSTILE[1]}},
            "selection": {"share": 0.9},
            "exports": {"creator": HOSTILE[1]},
        }
        self.recipe = Recipe.model_validate(settings)
        self.storage = Storage(self.recipe.storage)

    def make(self) -> None:
        """Materialize what needs no model; what does is given."""
        dataset = Dataset(self.recipe)
        of_captions = dg.materialize(
            [*caption_assets(dataset), *caption_checks(dataset)],
            raise_on_error=False,
        )
        fill(self.recipe, self.storage, [*good_captions(6), *HOSTILE, "word " * 40, None])
        exports = [asset for asset in dataset_assets(dataset) if asset.key != dataset.key("selected_pairs")]
        holds = [check for check in dataset_checks(dataset) if "holds" in next(iter(check.check_keys)).name]
        of_dataset = dg.materialize([*exports, *holds])
        runs = (of_captions, of_dataset)
        self.materializations = [
            event.materialization for run in runs for event in run.get_asset_materialization_events()
        ]
        self.evaluations = [evaluation for run in runs for evaluation in run.get_asset_check_evaluations()]

    def markdown(self) -> Iterator[tuple[str, str]]:
        """Name and text of everything that is shown as markdown."""
        named = [(shown.asset_key.to_user_string(), shown) for shown in self.materializations]
        named += [(shown.check_name, shown) for shown in self.evaluations]
        for name, shown in named:
            yield f"{name}, description", shown.description or ""
            for key, value in shown.metadata.items():
                if isinstance(value, dg.MarkdownMetadataValue):
                    yield f"{name}, {key}", value.md_str or ""
        for path in ("dataset/card/card.md", "dataset/huggingface/README.md"):
            yield path, self.storage.read_bytes(path).decode()

    def _captions(self) -> Path:
        """A file of the captions, whose name is an attack too."""
        file = self.folder / "a [x](javascript:alert(1)) <img src=x onerror=alert(1)> | `b`.txt"
        lines = [line.replace("\u2028", " ").encode() for line in (*good_captions(6), *HOSTILE)]
        file.write_bytes(b"\n".join([*lines, b"\xff <img src=x>", b"\0 [x](y)", b"word " * 40]))
        return file
