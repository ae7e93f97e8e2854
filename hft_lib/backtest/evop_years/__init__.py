"""Simulated years of EVOP: its own stage, driven by days whose truth is known."""
