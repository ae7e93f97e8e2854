"""The runtime: `serve` hosts a stage on a bus, `connect` joins a bus to the world; settings, journal, snapshots."""
