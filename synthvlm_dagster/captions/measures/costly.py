"""What each costly rule of a recipe is measured with."""

from __future__ import annotations

from collections.abc import Mapping

from synthvlm_dagster.captions.measures.measurements import Measure, MeasurementStore
from synthvlm_dagster.captions.rule import CostlyRule
from synthvlm_dagster.captions.rules import RULES
from synthvlm_dagster.recipe import Curation
from synthvlm_dagster.store.storage import Storage

_COSTLY = {name: rule for name, rule in RULES.items() if isinstance(rule, CostlyRule)}


def measurement_stores(curation: Curation, storage: Storage) -> dict[str, MeasurementStore]:
    """The values of every costly rule that is on, by name of the rule; models are loaded when they are needed.

    Raises:
        SynthVLMError: a model's files are not there, or an extra of the package is not installed.
    """
    return {rule: MeasurementStore(storage, measure) for rule, measure in costly_measures(curation).items()}


def costly_measures(curation: Curation) -> dict[str, Measure]:
    """What measures for every costly rule that is on, by name of the rule; not of one that uses the sources' numbers.

    Raises:
        SynthVLMError: a model's files are not there, or an extra of the package is not installed.
    """
    return {name: measure for name, rule in _COSTLY.items() if (measure := rule.measure(curation))}


def costs_of_measuring(stores: Mapping[str, MeasurementStore], curation: Curation) -> dict[str, float]:
    """What the rules have to say of what their numbers cost, after a curation.

    Args:
        stores: from `measurement_stores`.
        curation: the recipe's.
    """
    costs: dict[str, float] = {}
    for name, store in stores.items():
        costs |= _COSTLY[name].costs(store, curation.rules[name])
    return costs
