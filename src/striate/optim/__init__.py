"""Floor 1: update rules, parameter groups, schedules, regularisers."""
