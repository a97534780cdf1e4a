"""HTTP, asynchronous, on the process's one event loop: what gateways say, and what receivers are told."""
