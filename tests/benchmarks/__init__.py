"""Benchmarks: `python -m tests.benchmarks [NAME …]` runs each module's main(). They print; nothing here asserts a speed."""
