"""Values and directories made by hand: what the tests of the core start from."""
