"""Networks: Jittor modules named as upstream's state dicts; they know nothing of files."""
