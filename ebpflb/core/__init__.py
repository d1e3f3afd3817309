"""The product's thinking, pure: values in, values out. No I/O, clock, randomness or logging."""
