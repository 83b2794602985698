"""A real three-node Kubernetes on one machine: builds it, runs it, breaks it on demand.

For developers and for the end-to-end tests; nothing that users install imports it. `lab` is the front door of the
package, `cli` the command, `faults` what tests break. Every host of the cluster is a network namespace of this
machine, every program a detached process in the lab's own cgroup, and every file lies below one state directory.
"""
