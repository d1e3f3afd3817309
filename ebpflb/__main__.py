"""``python -m ebpflb``."""

from ebpflb.cli import main

main()
