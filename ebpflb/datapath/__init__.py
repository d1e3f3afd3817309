"""Compiles, loads, pins and reads the BPF programs and maps. The only place that knows bcc."""
