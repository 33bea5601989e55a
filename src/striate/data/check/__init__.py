"""What is checked before step 1: every file, the class map, copies within and across splits."""
