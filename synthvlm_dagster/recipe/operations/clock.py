"""When something starts by itself."""

from __future__ import annotations

from zoneinfo import available_timezones

from pydantic import Field, field_validator

from synthvlm_dagster.recipe.section import Section


class Clock(Section):
    """Points in time, by a cron line and the time zone that it is meant in."""

    cron: str = Field(
        "0 3 * * *",
        description="Minute, hour, day of month, month, day of week, such as `30 1 * * 1-5`: 01:30 from Monday to "
        "Friday. Or @hourly, @daily, @weekly, @monthly.",
    )
    timezone: str = Field(
        "UTC",
        description="The IANA name of the time zone of `cron`, such as Europe/Berlin. Hours that the change to summer "
        "time skips are made up for at its end, and those that come twice start it once.",
    )

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        from croniter import CroniterBadDateError, CroniterError, croniter

        try:
            fields = croniter.expand(cron)[0]
            if len(fields) == 5:
                croniter(cron).get_next()
        except CroniterBadDateError as error:
            raise ValueError(f"{cron!r} names a day that never comes") from error
        except (CroniterError, ValueError) as error:
            raise ValueError(f"{cron!r} is no cron line: {error}") from error
        if len(fields) != 5:
            raise ValueError(f"{cron!r} has {len(fields)} fields; give minute, hour, day of month, month, day of week")
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError(f"{timezone!r} is no time zone; give an IANA name such as Europe/Berlin, or UTC")
        return timezone
