"""Deck E's ladder of detectors on one backbone: what each rung costs and gains."""
