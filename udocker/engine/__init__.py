"""Ways to run a container: one module and one row of ``table`` each."""
