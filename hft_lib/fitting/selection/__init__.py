"""Which pairs hold together: tests of all pairs, with the share of false claims controlled."""
