"""What a release is made of, described and signed: docs/releasing.md."""
