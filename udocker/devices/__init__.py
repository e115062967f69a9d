"""GPUs and fabrics of the host: what is here, what is asked for, what a container gets of it."""
