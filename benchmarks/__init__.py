"""Measurements that anyone can run: `python -m benchmarks.deliveries`. Ratios count, times do not."""
