"""The book: reading runs, deciding claims, drawing figures, executing and publishing notebooks."""
