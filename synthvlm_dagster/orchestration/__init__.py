"""How Dagster works through the tables: shards, settings for one run, metadata."""
