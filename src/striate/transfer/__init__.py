"""Judges of a start from trained weights (M3): what their features are worth for a data set, and
how much of the network should learn."""
