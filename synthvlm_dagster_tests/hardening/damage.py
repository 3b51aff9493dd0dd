"""Ways to spoil a file, for hypothesis; and how many examples are tried."""

from __future__ import annotations

import gzip
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MORE = int(os.environ.get("SYNTHVLM_FUZZ_EXAMPLES", "0"))
"""For a person with time: so many examples of each kind, others at every run. 0: the same few at every run."""


def examples(count: int) -> settings:
    """`count` examples, always the same; $SYNTHVLM_FUZZ_EXAMPLES of them, drawn anew, where it is set."""
    return settings(
        max_examples=MORE or count,
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


_NASTY = (
    b'"', b"'", b"[", b"{", b"}", b"]", b":", b",", b"&", b"*", b"!", b"|", b"\t", b"\r", b"\n", b"\0", b"\x1b[2J",
    b"\\ud800", b"\xed\xa0\x80", b"\xc0\xaf", b"\xff\xfe", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"1e999999",
    b"9" * 5000, b"[" * 20_000, b'{"a":' * 5000, b"\xe2\x80\xae", b"<script>", b"../../", b"\\", b"%00", b"~", b"",
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content cut, changed, repeated, re-encoded, packed or replaced, once or twice; never as it was."""
    spoiled = content
    for _ in range(draw(st.integers(1, 2))):
        spoiled = _once(draw, spoiled)
    return spoiled if spoiled != content else content[: len(content) // 2]


def _once(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content)))
    length = draw(st.integers(1, 200))
    kind = draw(
        st.sampled_from(("cut", "drop", "repeat", "insert", "change", "zeros", "encode", "pack", "random", "tail"))
    )
    if kind == "cut":
        return content[:at]
    if kind == "drop":
        return content[:at] + content[at + length :]
    if kind == "repeat":
        return content[:at] + content[at : at + length] * 20 + content[at + length :]
    if kind == "insert":
        return content[:at] + draw(st.sampled_from(_NASTY)) + content[at:]
    if kind == "change":
        return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at + 8 :]
    if kind == "zeros":
        return content[:at] + bytes(length) + content[at:]
    if kind == "encode":
        return content.decode("latin-1").encode(draw(st.sampled_from(("utf-8-sig", "utf-16", "utf-32", "utf-16-le"))))
    if kind == "pack":
        return gzip.compress(content, mtime=0)[: at or 1]
    if kind == "tail":
        # Parquet's footer, zip's directory, tar's last blocks.
        near = max(0, len(content) - length)
        return content[:near] + draw(st.binary(min_size=1, max_size=4)) + content[near + 4 :]
    return draw(st.binary(max_size=300))
