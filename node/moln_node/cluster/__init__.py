"""Who owns what: finds the owners of a key, and carries reads and writes to their stores."""
