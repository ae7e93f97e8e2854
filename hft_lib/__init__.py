"""The pure half of hft-crypto-bot: models, strategy, gate, simulated exchange, EVOP, stages. No
network, clock or environment.
"""
