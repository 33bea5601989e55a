"""What detectors are made of: each operation in one small function, its formula beside it (E3).

Boxes are (left, top, right, bottom) in pixels of the network's input, as float32 tensors.
"""
