"""Counts of paired cells: files and containers, checks, features, correspondence analysis."""
