"""From layers to one directory tree, hostile archives included."""
