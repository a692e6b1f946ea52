"""What the relay decides: plain functions without I/O, clock or randomness."""
