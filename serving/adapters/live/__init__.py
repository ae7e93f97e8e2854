"""The live market-data edge: sockets, REST within a budget, and the feed that they make."""
