"""Kubeflow pipelines: which component's output is which one's input, and what each step needs.

Wiring only. `compiled/` holds the YAML that a cluster takes; `hft pipeline compile` makes it anew.
"""
