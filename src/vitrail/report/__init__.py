"""The run's pictures and its self-contained page."""
