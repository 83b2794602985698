"""Makes it so: the only room, besides `report`, that writes to Kubernetes, and the one that pushes to nodes."""
