"""Market data: tapes, what is imported into them, their flaws, and a market made up."""
