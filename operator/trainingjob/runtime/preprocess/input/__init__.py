"""What a job reads: which files, how they are written, the types of their columns."""
