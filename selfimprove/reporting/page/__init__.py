"""The parts of a run's report, one a section, and its templates."""
