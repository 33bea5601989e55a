"""Floor 5: what is tried before hours are spent (T1, T3)."""
