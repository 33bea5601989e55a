"""Floor 7: small worlds in which training can be watched: the plane, landscapes, a graph."""
