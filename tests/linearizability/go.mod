module moln.dev/tests/linearizability

go 1.26
