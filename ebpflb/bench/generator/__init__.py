"""The load generator: two small C programs, how they are compiled, and how they are told what to do."""
