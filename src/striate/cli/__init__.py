"""Floor 7: thin verbs over the api."""
