"""The border with R: its objects and functions from Python."""
