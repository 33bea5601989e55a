"""A trained network as a service: images in, answers out, within bounds."""
