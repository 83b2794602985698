"""The contract that every part of moln shares.

Resource models, the cloud map, what nodes say of themselves, rule matching, placement and version order. Pydantic
only: no I/O, no clock, no randomness, so that every function here gives the same answer on every node, in the operator
and in a test.
"""
