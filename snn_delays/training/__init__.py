"""Floor 4: recipes, training, run folders, evaluation."""
