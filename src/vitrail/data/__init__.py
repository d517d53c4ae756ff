"""From bytes on disk to batches: reading, checking, splitting, augmenting."""
