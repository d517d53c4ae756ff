"""The command: one dict from verb to function, resolved when called."""
