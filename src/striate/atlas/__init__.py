"""Data sets as maps: where images lie, by their pixels or by what a network makes of them (D4)."""
