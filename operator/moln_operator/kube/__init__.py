"""The Kubernetes API as the operator uses it: which kinds, how they are watched, what is remembered of them."""
