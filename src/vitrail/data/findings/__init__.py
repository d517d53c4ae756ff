"""What an audit found that deserves a word: one file is one subject, `ranking` puts all in order."""
