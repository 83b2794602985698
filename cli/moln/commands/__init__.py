"""One module per command: its options, the calls it makes, what it prints. Shared steps are in the rooms above."""
