"""Everything Dagster sees, in pipeline order: captions → images → scores → dataset."""

import os
import warnings

import dagster as dg

from synthvlm_dagster.attempts import assets as operation_assets
from synthvlm_dagster.captions import assets as caption_assets
from synthvlm_dagster.captions import checks as caption_checks
from synthvlm_dagster.dataset import assets as dataset_assets
from synthvlm_dagster.dataset import checks as dataset_checks
from synthvlm_dagster.images import assets as image_assets
from synthvlm_dagster.images import checks as image_checks
from synthvlm_dagster.operations.arrival.sensor import new_captions
from synthvlm_dagster.operations.automation import dataset_follows_scores, watched
from synthvlm_dagster.operations.notifications.failed_runs import failed_runs
from synthvlm_dagster.operations.refresh import refresh_dataset
from synthvlm_dagster.operations.regeneration.job import regenerate_weak_pairs
from synthvlm_dagster.operations.repair.job import repair_shards
from synthvlm_dagster.operations.repair.sensor import repair_failed_shards
from synthvlm_dagster.operations.runs.executor import watched_in_process_executor
from synthvlm_dagster.operations.runs.sensors import dead_runs, lost_retries
from synthvlm_dagster.operations.schedules import SCHEDULES
from synthvlm_dagster.operations.terminal_log import terminal_log
from synthvlm_dagster.recipe import active_recipe
from synthvlm_dagster.scores import assets as score_assets
from synthvlm_dagster.scores import checks as score_checks
from synthvlm_dagster.store.storage import Storage

# PyTorch's idle CPU threads spin by default: beside any other busy process, on two cores, generation took five times as
# long. Read when PyTorch loads, so it must stand before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Dagster itself passes the owners on, of sensors that have none.
warnings.filterwarnings("ignore", message=".*`owners` of initializer `SensorDefinition", category=dg.BetaWarning)

_left_out = dataset_assets.switched_off_exports(active_recipe())
if not active_recipe().attempts.adaptive:
    # Scores have no say in how many images a caption gets.
    _left_out.add(operation_assets.further_attempts.key)
_asset_modules = [caption_assets, image_assets, score_assets, operation_assets, dataset_assets]
_check_modules = [caption_checks, image_checks, score_checks, dataset_checks]

defs = dg.Definitions(
    assets=watched(
        (
            asset
            for asset in dg.load_assets_from_modules(_asset_modules)
            if isinstance(asset, dg.AssetsDefinition) and asset.keys.isdisjoint(_left_out)
        ),
        active_recipe(),
    ),
    asset_checks=[
        check
        for check in dg.load_asset_checks_from_modules(_check_modules)
        if _left_out.isdisjoint(key.asset_key for key in check.check_keys)
    ],
    jobs=[refresh_dataset, regenerate_weak_pairs, repair_shards],
    schedules=SCHEDULES,
    sensors=[dataset_follows_scores, dead_runs, failed_runs, lost_retries, new_captions, repair_failed_shards],
    resources={"recipe": active_recipe(), "storage": Storage(active_recipe().storage)},
    executor=watched_in_process_executor,
    loggers={"console": terminal_log},
)
