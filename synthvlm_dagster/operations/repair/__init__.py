"""Shards that failed or were left unfinished: found, made again in one run, and watched over."""
