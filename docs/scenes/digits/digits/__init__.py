"""Tells which digit a picture of 8 by 8 pixels shows: a small model, served by DEEPaaS."""
