"""EVOP: evolutionary operation of the parameter sets. Design, evidence, guards, policy, records.

All of it pure.
"""
