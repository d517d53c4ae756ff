"""Learning from another model: its decisions, its softened answers, or its feature map, beside a task's own targets."""
