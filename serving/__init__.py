"""The services: stages hosted on a bus, edges that join it to the world, and their settings."""
