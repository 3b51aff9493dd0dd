"""Running the pipeline: where its Dagster instance lives, what is missing, and making it."""
