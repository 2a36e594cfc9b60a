"""Inputs that nobody would write: accepted, or refused in words, in bounded memory and time."""
