"""From files to predictions, in the order given."""
