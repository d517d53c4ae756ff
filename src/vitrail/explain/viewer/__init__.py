"""explain.html: one page in one file on which every patch can be asked where it looks."""
