"""Floor 6: the facts of a run, and pictures and pages of what is known."""
