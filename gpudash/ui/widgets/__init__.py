"""Widgets that draw by line: each line is spans of text with tokens, and only lines whose spans changed are drawn
again.
"""
