"""Tree search without language models: one tree core, its rules of selection, widening and back-up, and extraction."""
