"""Port 9001: health, status, the map and the credentials that are pushed to a node, metrics, maintenance.

Stands beside `s3/`: it may use `cluster/` and `store/`, and nothing in them knows it. Nothing here is open to users:
all but health and metrics wants the cloud secret.
"""
