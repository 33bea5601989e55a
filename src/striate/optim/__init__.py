"""Floor 1: update rules, schedules, regularisers."""
