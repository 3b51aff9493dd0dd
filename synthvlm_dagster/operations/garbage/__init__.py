"""What stands in a store and nothing refers to any more: found, explained and deleted."""
