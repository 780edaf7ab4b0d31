"""Performance: benchmarks, capacity, baselines, and whether a change made anything slower."""
