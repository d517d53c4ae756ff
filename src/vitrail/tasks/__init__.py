"""One file is one task: its head, loss, metrics, and how a target is read and a prediction decoded."""
