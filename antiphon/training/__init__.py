"""Training: one loop, and the few things it is made of."""
