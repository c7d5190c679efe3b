"""Studies behind the tables and pictures of the documents. ``python -m experiments.studies`` runs them all."""
