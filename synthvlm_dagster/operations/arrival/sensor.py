"""What Dagster sees of arriving captions: the sensor that launches a refresh for them."""

import dagster as dg

from synthvlm_dagster.orchestration.dataset import Dataset


def new_captions(dataset: Dataset, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that launches the job `refresh_dataset` of a dataset when captions have arrived."""

    @dg.sensor(
        name=dataset.name("new_captions"),
        job=job,
        minimum_interval_seconds=dataset.recipe.operations.new_captions.look_every_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Takes in new and changed caption files of the recipe's sources, once they have stopped changing.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Takes in new and changed caption files of the recipe's sources, once they have stopped changing.

        Looks at the files that the sources' paths name. When some are new or have changed, and none has changed for a
        while, it launches `refresh_dataset`: captions, the images of shards with new captions, scores, dataset, report.
        A file that is gone is mentioned, no more.
        """
        from synthvlm_dagster.operations.arrival.look import look

        return look(context, dataset, job.name)

    return sensor
