"""What the terminal shows of a run: records, filters, grades, and how they are worded."""
