"""Says what is so: statuses and events, written only when they differ from the last."""
