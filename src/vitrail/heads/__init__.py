"""From Features to outputs, for any backbone."""
