"""The policies, one a file: values in, values out."""
