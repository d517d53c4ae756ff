"""One file is one method of explanation."""
