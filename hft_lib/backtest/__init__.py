"""Runs over a tape, what they leave, and how they are shown."""
