"""How parameters are found: maximum likelihood of each model, the relation of a pair, the grid."""
