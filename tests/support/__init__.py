"""What test modules share: they import from here, and never from one another."""
