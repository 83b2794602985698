"""Access control lists: grants as values (`grants`), as headers and XML (`requests`), and the handlers over both."""
