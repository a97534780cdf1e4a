"""Measurements that anyone can run: `make bench`, or `python -m benchmarks --only NAME`.

Ratios count, times do not. Every scenario runs in processes of its own on loopback; what is
compared takes turns within each round.
`python -m benchmarks.sweeps` is a longer look at the claim beside a plainer design, on both databases.
"""
