"""The image that every component runs in: the project's own, with the research set installed."""

IMAGE = "hft-crypto-bot:0.1.0"
