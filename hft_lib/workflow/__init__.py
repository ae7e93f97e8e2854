"""The work of the pipelines' steps: each reads files, does one thing, writes files, or refuses.

The components of `components/` call these and nothing else, so that a step is tested without a
pipeline, and a pipeline is wiring alone.
"""
