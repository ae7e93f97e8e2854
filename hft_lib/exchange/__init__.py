"""The simulated exchange: accounts, fills, latency and carrying costs, each a named model."""
