"""Self-Blind-VSR: blind video super-resolution (Bai and Pan, TPAMI 2024)."""
