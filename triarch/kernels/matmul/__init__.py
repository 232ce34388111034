"""Matrix products that run inside a kernel, on the thread that calls them."""
