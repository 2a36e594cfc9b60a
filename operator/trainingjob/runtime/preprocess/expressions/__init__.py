"""Users' SQL, with one meaning in both engines."""
