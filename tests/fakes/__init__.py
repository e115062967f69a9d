"""Stand-ins for what is outside: servers that speak the real protocols on loopback."""
