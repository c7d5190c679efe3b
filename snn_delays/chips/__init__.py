"""What neuromorphic chips hold, and what a network costs there."""
