"""What the build writes before it compiles: files made from the one list that each is about."""
