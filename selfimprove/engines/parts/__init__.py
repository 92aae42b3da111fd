"""What engines are made of: refusals, pacing, HTTP with retries, sampling, rolling batches, scoring."""
