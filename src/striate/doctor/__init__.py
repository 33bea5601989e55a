"""Floor 4: rules over recorded history → findings."""
