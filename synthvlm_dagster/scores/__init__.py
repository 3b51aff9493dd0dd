"""Third stage: measure how well each generated image shows its caption (SynthVLM §3.3)."""
