"""Images in files: what `load` reads and `save` writes."""
