"""Weights that a network may start from: their cards, where they lie, and how they are matched.

card.py      what is known of a set of weights
catalogue.py the sets that can be named: packages, torchvision's, timm's, your own
locate.py    where a file lies on this machine, or how it comes here
read.py      a file → named tensors, without ever running code
match.py     whose tensor goes where
"""
