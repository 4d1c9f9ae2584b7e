"""Puts this folder on the import path, so that tests below it too can `import recipe`."""
