"""What a batch job says of itself in its environment; pure."""
