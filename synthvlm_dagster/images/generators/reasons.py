"""Errors of model libraries, told in one line."""

from __future__ import annotations


def error_reason(error: BaseException) -> str:
    """What an error says, and what the error at its root says, in one line."""
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    sentences = dict.fromkeys(" ".join(str(part).split()).rstrip(".") for part in (error, root))
    return ": ".join(sentence for sentence in sentences if sentence)
