"""SynthVLM as a Dagster project: curate captions, synthesize their images, keep the pairs that match best."""
