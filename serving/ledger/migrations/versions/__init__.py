"""One step a module, in the order of its number."""
