"""What is so: one cloud's state, from the inventory, from Secrets that users wrote and from the nodes. Reads only."""
