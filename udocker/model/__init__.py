"""Frozen values every other package speaks in. No input or output happens here."""
