"""Floor 0: recipe, records, findings, the run directory, errors, runtime. Imports nothing above."""
