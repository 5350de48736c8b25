"""Motion matching: which moment of the clips answers a pose and a command best."""
