"""A measure whose every value can be checked, and that remembers what it was asked."""

from __future__ import annotations

import polars as pl


class VowelShare:
    """Vowels / code points; texts that hold a digit cannot be measured. Yields one caption at a time."""

    looks_at_images = False
    extras = pl.Schema({"tokens": pl.Int64})

    def __init__(self, name: str = "perplexity", fails_after: int | None = None) -> None:
        self.name = name
        self.identity = "vowels"
        self.asked: list[str] = []
        self.fails_after = fails_after

    def measure(self, captions, on_progress):
        assert captions.columns == ["key", "text", "image_uri"]
        assert captions["key"].is_unique().all()
        for done, (key, text) in enumerate(captions.select("key", "text").iter_rows()):
            if done == self.fails_after:
                raise RuntimeError("the endpoint is gone")
            self.asked.append(text)
            problem = "it holds a digit" if any(sign.isdigit() for sign in text) else None
            yield pl.DataFrame(
                {
                    "key": [key],
                    "value": [None if problem else vowel_share(text)],
                    "problem": [problem],
                    "tokens": [len(text)],
                },
                schema={"key": pl.String, "value": pl.Float64, "problem": pl.String, "tokens": pl.Int64},
            )


def vowel_share(text: str) -> float:
    """What `VowelShare` measures."""
    return sum(sign in "aeiou" for sign in text) / len(text)
