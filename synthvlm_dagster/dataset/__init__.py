"""Fourth stage: select the best pairs, export them, look at them (SynthVLM §3.3)."""
