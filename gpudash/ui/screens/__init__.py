"""One module a screen. Only the fleet's is imported for the first frame; the others when they are first opened."""
