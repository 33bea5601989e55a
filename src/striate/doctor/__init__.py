"""Floor 5: rules over recorded history → findings."""
