"""Studies for the tables and figures of the documents. ``python -m experiments.studies`` runs them all."""
