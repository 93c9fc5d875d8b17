"""Pictures; the only room that knows matplotlib, which is an extra."""
