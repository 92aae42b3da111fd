"""The command line: one file a verb, registered in main.py. Nothing heavy is imported before a verb needs it."""
