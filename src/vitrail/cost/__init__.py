"""Parameters and operations, counted without running."""
