"""Denoising networks of the Noise2Void family."""
