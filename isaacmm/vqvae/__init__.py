"""Motion VQ-VAE: clips to tokens and back, and what tokens are good for."""
