"""The operator: makes the cluster be what Clouds ask for.

observe -> plan -> apply -> report, once per Cloud and call, always from what is so and never from what changed. Only
`apply` and `report` write to Kubernetes; `plan` is pure.
"""
