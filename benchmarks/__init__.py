"""Speed and memory of replica stacks against training one model after another (`python -m benchmarks`)."""
