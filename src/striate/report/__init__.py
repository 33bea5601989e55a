"""Floor 5: pictures and pages of what is known."""
