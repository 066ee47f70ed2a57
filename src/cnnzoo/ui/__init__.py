"""What a person sees: the screen, tables and pictures."""
