"""Measures and shows the product: namespaces as nodes, load, the demo."""
