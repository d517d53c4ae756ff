"""Why the model answered as it did."""
