"""What `ebpflb bench` measures: one module a subject, each with ``measure(effort, progress) -> Measured``."""
