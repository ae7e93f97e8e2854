"""The orchestrator's own: the operator's page."""
