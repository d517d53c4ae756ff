"""One file is one family: its config, its table of variants, its class."""
