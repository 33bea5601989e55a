"""Differentiable layers by hand, in NumPy: each operation beside its derivative.

Read `graph` (L2), `layer` (L1), `layers` with `convolution` (L4, L6), `losses`, `updates` (O2–O5),
`learning`, then `gradcheck` (L3), `arithmetic` (L13), `landscapes` (O8). It imports nothing of
Striate, so that the rest of the project can be tested against it.
"""
