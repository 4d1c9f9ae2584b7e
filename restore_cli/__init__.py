"""Restore photographs, RAW files, micrographs and film from the command line.

Importing this package is cheap: Jittor is loaded by `restore_cli.runtime.engine.start` alone.
"""

__version__ = "0.1.0"
