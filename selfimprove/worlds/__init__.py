"""What a search meets outside its tree: steps as a policy writes them, what critics say, which answers are right."""
