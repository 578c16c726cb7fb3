"""Training on footage that does not leave its owner: algorithms, recipes, and the gate at the way out."""
