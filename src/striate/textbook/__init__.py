"""Differentiable layers by hand, in NumPy: each operation beside its derivative.

Read in this order: `graph` (numbers and the chain rule, L2), `layers` (forward, backward, update,
L1) with `convolution` (L4, L6), `losses` (L11), `updates` (O2–O5), `gradcheck` (L3), `arithmetic`
(L4, L13), `landscapes` (O8), `learning` (all of it together). It imports nothing of Striate, so
the rest of the project can be tested against it.
"""
