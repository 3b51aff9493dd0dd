"""How the project is operated: what happens on a clock, on arrival and after failures. Nothing here changes a table."""

from __future__ import annotations

from synthvlm_dagster.recipe.section import Section


class Operations(Section):
    """What runs by itself, and within which limits."""
