"""The one evaluation loop."""
