"""A simulated gateway and a verifying receiver on loopback: for the demo, the tests and users' development.

Nothing here is needed by a worker in production. The simulator shares no code with the decoder of
`worker/core`, so that it cannot agree with us about a mistake of ours.
"""
