"""Names that cross a process boundary, each in one typed list."""
