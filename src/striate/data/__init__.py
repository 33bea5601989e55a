"""Floor 1: from what people have to uint8 batches. NumPy throughout; torch starts in the loop.

Images are uint8 (N, H, W, C) everywhere on this floor, C = 1 (grey) or 3 (RGB).
"""
