"""What children of several stages have in common: plain dicts, a fresh tree at each call."""
