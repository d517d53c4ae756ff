"""One file is one published layout: its names for every family, its configs, what it cannot express."""
