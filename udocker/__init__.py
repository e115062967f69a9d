"""Run Docker and OCI images without privileges."""

__version__ = "2.0.0.dev0"
