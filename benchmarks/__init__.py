"""Measurements that anyone can run: `python -m benchmarks.deliveries`. Ratios count, absolute times do not."""
