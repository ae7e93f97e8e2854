"""The six stages of the line, in the order in which a tick meets them."""
