"""Floor 7: the public facade. It composes the floors and adds nothing of its own."""
