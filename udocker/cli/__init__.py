"""Arguments in, exit code out. The only place that reads the environment."""
