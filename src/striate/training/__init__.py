"""Floor 3: the loop, its state, checkpoints, inference, and the monitor that measures."""
