"""Whether a change made a pool slower: base and head measured alternately in one job, and a rule whose errors are known."""
