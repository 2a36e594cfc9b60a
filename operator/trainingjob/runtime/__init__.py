"""What runs inside the pods: ``python -m trainingjob.runtime``. Imports the API alone."""
