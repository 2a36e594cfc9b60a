"""A second S3 server, which is strict where moto is not: about signatures, regions and conditions.
Buckets are folders. ``python -m tests.cluster.versitygw`` builds it.
"""
