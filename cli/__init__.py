"""The hft command: it sees everything and nothing imports it."""
