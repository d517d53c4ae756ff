"""What the tasks with a value per pixel sum up while a split is scored; the others' meters stand with their task."""
