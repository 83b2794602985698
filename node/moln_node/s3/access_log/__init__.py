"""Server access logs: who asked a bucket for what, written as objects into a bucket of the same owner."""
