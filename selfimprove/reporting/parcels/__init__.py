"""What goes to a hub: which files, their cards, and the client that delivers them."""
