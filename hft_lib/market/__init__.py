"""The market data store: tapes, what is imported into them, what is wrong with them, and a market made up with its truth."""
