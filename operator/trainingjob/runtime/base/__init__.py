"""What every stage uses: failures, the log, digests, progress, the outcome. Knows no stage."""
