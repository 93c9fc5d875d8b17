"""What was in a file before it was written to, so that every write can be undone."""
