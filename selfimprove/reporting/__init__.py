"""What a person reads: tables, run folders, method cards, data-set cards."""
