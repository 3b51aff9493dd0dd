"""Telling people who are not looking at the UI."""
