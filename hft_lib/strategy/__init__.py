"""From forecast to target: when to hold the spread of a pair, and how much of it."""
