"""LIIF (Chen, Liu, Wang: Learning Continuous Image Representation, CVPR 2021) and its kin."""
