"""The resources that users write (API group `moln.dev`, version `v1alpha1`), one module per kind.

A rule that the API server can check is written twice, side by side: as CEL in the schema, so that `kubectl apply`
refuses bad input, and as a validator here, so that `moln dev` and the operator refuse the same input with the same
sentence.
"""
