"""What a network looks at: attributions, and how far they can be trusted (M5)."""
