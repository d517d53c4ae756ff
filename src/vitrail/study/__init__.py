"""What everyone says of vision transformers, measured on the user's own images."""
