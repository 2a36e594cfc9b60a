"""Tests of the API: models, CRD, reference page, error messages."""
