"""A real HDFS, NameNode and DataNode in one Java process: Hadoop's own server for tests, on the
Hadoop that PySpark's wheel brings. ``python -m tests.cluster.hdfs`` fetches what the wheel lacks.
"""
