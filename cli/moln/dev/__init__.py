"""`moln dev`: the YAML that Kubernetes would run, as processes on this machine.

Plays the operator's part for one person: reads the resources, makes the cloud map, starts nodes, pushes edits to them
while they run. Nodes are separate processes (`python -m moln_node`), spoken to over their ports only.
"""
