"""The command line: `python -m hybridlib`."""
