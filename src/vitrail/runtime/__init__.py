"""Engines that run a model on arrays."""
