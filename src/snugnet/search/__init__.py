"""Search for designs and trainings within a budget."""
