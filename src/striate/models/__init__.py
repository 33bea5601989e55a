"""Floor 1: the zoo, our own small networks, their stages, initialisers and the input stage."""
