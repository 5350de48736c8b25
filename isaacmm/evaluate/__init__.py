"""How good is it: recorded rollouts, and numbers that mean the same for a policy and for clips."""
