"""Floor 5: checks of a data set that need a model – labels that look wrong, splits unlike."""
