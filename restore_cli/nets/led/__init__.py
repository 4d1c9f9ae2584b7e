"""Networks that clean packed low-light RAW planes, and the layers that fit them to a camera.

Lighting Every Darkness in Two Pairs (LED): Jin et al., ICCV 2023.
"""
