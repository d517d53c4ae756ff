"""Parts that two families share."""
