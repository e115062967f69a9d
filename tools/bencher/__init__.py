"""Times udocker beside other tools in interleaved runs; ``tools/bench`` runs it."""
