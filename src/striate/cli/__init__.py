"""Floor 8: thin verbs over the api."""
