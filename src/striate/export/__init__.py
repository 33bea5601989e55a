"""Trained networks as files that run elsewhere: what these compute, and whether they agree."""
