"""What starts on a clock: off by default, at the recipe's time, with the recipe's limits."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.errors import RecipeError
from synthvlm_dagster.operations.regeneration.job import night_limits
from synthvlm_dagster.recipe import Clock, load_recipe, parse_recipe
from synthvlm_dagster_tests.smallest_recipe import SMALLEST

WITH_OPERATIONS = f"{SMALLEST}operations:\n"

DEMO = build_definitions(load_recipe("demo"))


def test_every_schedule_is_off_until_somebody_switches_it_on():
    schedules = DEMO.get_repository_def().schedule_defs
    assert {schedule.name for schedule in schedules} == {"refresh_stale_shards"}, "the demo's recipe has no bar"
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.STOPPED}


def test_refresh_stale_shards_launches_a_refresh_that_says_why():
    repository = DEMO.get_repository_def()
    schedule = repository.get_schedule_def("refresh_stale_shards")
    now = datetime(2026, 11, 27, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    with dg.DagsterInstance.ephemeral() as instance:
        [request] = schedule.evaluate_tick(
            dg.build_schedule_context(instance, scheduled_execution_time=now, repository_def=repository)
        ).run_requests
    assert request.run_config["ops"]["make_missing"]["config"]["reason"].startswith("2026-11-27 03:00 CET")
    assert dg.validate_run_config(repository.get_job(schedule.job_name), request.run_config)


def test_the_recipe_says_when_and_how_much(tmp_path: Path):
    recipe = parse_recipe(
        WITH_OPERATIONS + "  refresh: {cron: '15 4 * * sun', timezone: Asia/Tokyo}\n"
        "  regeneration: {cron: '30 1 * * *', timezone: Europe/Berlin, bar: 0.8, max_images: 70}\n",
        tmp_path / "recipe.yaml",
    )
    schedules = {schedule.name: schedule for schedule in build_definitions(recipe).get_repository_def().schedule_defs}
    assert {
        (name, one.cron_schedule, one.execution_timezone, one.default_status.value) for name, one in schedules.items()
    } == {
        ("regenerate_weak_pairs", "30 1 * * *", "Europe/Berlin", "STOPPED"),
        ("refresh_stale_shards", "15 4 * * sun", "Asia/Tokyo", "STOPPED"),
    }
    [request] = schedules["regenerate_weak_pairs"].evaluate_tick(dg.build_schedule_context()).run_requests
    limits = {"bar": 0.8, "max_attempts": 8, "max_images": 70, "max_gpu_hours": 8.0}
    assert request.run_config["ops"] == {"try_weak_captions_again": {"config": limits}}


def test_a_night_starts_once_when_the_clocks_change():
    """By the description of `timezone`: skipped hours are made up for, hours that come twice start it once."""

    def starts(cron: str, day: datetime) -> list[datetime]:
        iterator = schedule_execution_time_iterator(day.timestamp(), cron, "Europe/Berlin")
        found = [next(iterator) for _ in range(3)]
        return [time.astimezone(UTC) for time in found if time.timestamp() < (day + timedelta(days=1)).timestamp()]

    assert starts("30 1 * * *", datetime(2026, 1, 15, tzinfo=UTC)) == [datetime(2026, 1, 15, 0, 30, tzinfo=UTC)]
    assert starts("30 1 * * *", datetime(2026, 7, 15, tzinfo=UTC)) == [datetime(2026, 7, 15, 23, 30, tzinfo=UTC)]
    # 2:30 is skipped on 29 March, and comes twice on 25 October.
    assert starts("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC)) == [datetime(2026, 3, 29, 1, tzinfo=UTC)]
    assert starts("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC)) == [datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("operations", "line", "message"),
    [
        ("  refresh: {cron: 0 25 * * *}", 10, "operations.refresh.cron: '0 25 * * *' is no cron line"),
        ("  refresh:\n    cron: 0 3 * *", 11, "operations.refresh.cron: '0 3 * *' is no cron line"),
        ("  regeneration:\n    bar: 0.8\n    cron: 0 0 3 * * *", 12, "cron: '0 0 3 * * *' has 6 fields"),
        ("  regeneration: {cron: 0 3 31 2 *}", 10, "cron: '0 3 31 2 *' names a day that never comes"),
        ("  refresh: {timezone: Europe/Bärlin}", 10, "timezone: 'Europe/Bärlin' is no time zone; give an IANA name"),
        ("  regeneration: {bar: 0}", 10, "operations.regeneration.bar"),
        ("  regeneration: {max_hours: 3}", 10, "unknown key; did you mean max_gpu_hours"),
        ("  freshness: {warn_after_hours: 3}", 10, "fail_after_hours: is required"),
        ("  freshness: {warn_after_hours: 3, fail_after_hours: 2}", 10, "must be less than fail_after_hours, 2"),
    ],
)
def test_mistakes_are_named_with_line_and_field(operations: str, line: int, message: str):
    with pytest.raises(RecipeError) as error:
        parse_recipe(WITH_OPERATIONS + operations, Path("/recipes/recipe.yaml"))
    assert f"/recipes/recipe.yaml, line {line}: " in str(error.value)
    assert message in str(error.value)


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.lists(
            st.sampled_from(
                ["*", "0", "7", "31", "*/5", "1-5", "mon", "L", "R", "?", "5-1", "1,2", "60", "x", "sun#2"]
            ),
            min_size=4,
            max_size=6,
        ).map(" ".join),
        st.sampled_from(["@daily", "@hourly", "@reboot", "@midnight", ""]),
        st.text("0123456789*/-, @#L", max_size=12),
    )
)
def test_whatever_a_recipe_may_say_dagster_understands(cron: str):
    try:
        Clock(cron=cron)
    except ValidationError:
        return
    assert is_valid_cron_string(cron)


def test_without_a_bar_in_the_recipe_the_launchpad_asks_for_one():
    with pytest.raises(ValidationError, match="bar"):
        night_limits(load_recipe("demo"))()
    fields = DEMO.get_repository_def().get_job("regenerate_weak_pairs").get_node_named("try_weak_captions_again")
    config = fields.definition.config_schema.config_type.fields
    assert config["bar"].is_required
    assert all(field.description for field in config.values())
