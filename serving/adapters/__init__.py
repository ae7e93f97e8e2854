"""The world behind the edges: buses, feeds, registries."""
