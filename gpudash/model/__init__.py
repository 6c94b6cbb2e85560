"""Frozen data and arithmetic: pure, standard library only, shared by every other package."""
