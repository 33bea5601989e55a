"""Floor 1: the zoo, our own small networks, initialisers and the input stage."""
