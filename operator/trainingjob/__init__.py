"""TrainingJob: one Kubernetes resource from raw data to a judged model."""

__version__ = "0.1.0"
