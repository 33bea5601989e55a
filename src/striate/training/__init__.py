"""Floor 3: the loop, checkpoints, evaluation passes, and what "auto" becomes."""
