"""Floor 2: what a target is, its loss and its scores. The loop never asks which task it runs."""
