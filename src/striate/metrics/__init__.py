"""Floor 1: pure functions from outputs and truths to scores."""
