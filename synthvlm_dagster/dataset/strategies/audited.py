"""The paper's score, less what the audit sets aside."""

from __future__ import annotations

from synthvlm_dagster.dataset.strategies.paper import papers_merit, papers_words
from synthvlm_dagster.dataset.strategy import Strategy

STRATEGY = Strategy(
    name="audited",
    merit=papers_merit,
    in_words=lambda selection: f"{papers_words(selection)}, less what the audit set aside",
    weighs_ssim=True,
    audits=True,
)
