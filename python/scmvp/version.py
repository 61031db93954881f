"""The version of the package: here, and in DESCRIPTION for R."""

__version__ = "0.1.0"
