"""What hosts a stage: settings, host, journal, snapshots, health, metrics."""
